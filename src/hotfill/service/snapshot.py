"""What is seen of the upgrade every second: how far it is, how fast, and what was measured.

One look serves everybody: the dashboard of each visitor, the metrics, and the coverage that
searches report.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hotfill.errors import HotfillError, ModelMismatchError
from hotfill.service.measures import RecentLatency
from hotfill.upgrade.status import RateMeter, take_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.service.measures import Composition, Latency, Measures
    from hotfill.service.step_runner import Run, StepRunner
    from hotfill.stores.base import Gallery
    from hotfill.types import ModelId
    from hotfill.upgrade.journal.base import DeadLetter, Fact, Journal
    from hotfill.upgrade.plan import Plan
    from hotfill.upgrade.status import Status

_log = logging.getLogger("hotfill.service")

EVERY_SECONDS = 1.0
_RATE_SECONDS = 10.0  # rates are averages over this long
_HISTORY = 600  # looks kept: ten minutes
_FACTS = 12
_LETTERS = 10


@dataclass(frozen=True, slots=True)
class Rates:
    """Items per second, over the last seconds, at one moment (seconds since the epoch)."""

    at: float
    embedded: float
    written: float
    visible: float


@dataclass(frozen=True, slots=True)
class UpgradeSnapshot:
    """Everything that the dashboard shows, of one moment.

    number: rises with every look. coverage: share of items on the new side, from 0 to 1.
    old_items, new_items: on each side. rates, recent_latencies: histories, oldest first; the last
    is now.
    traffic_share: share of the last minute's hits that came from the new side; None without hits.
    quality: what the canaries showed so far, oldest first. verified: the last verification, as the
    journal has it.
    """

    number: int
    at: float
    status: Status
    old_items: int
    new_items: int
    rates: tuple[Rates, ...]
    run: Run | None
    latencies: tuple[Latency, ...]
    recent_latencies: tuple[RecentLatency, ...]
    compositions: tuple[Composition, ...]
    traffic_share: float | None
    quality: tuple[Fact, ...]
    facts: tuple[Fact, ...]
    dead_letters: tuple[DeadLetter, ...]
    verified: Fact | None

    @property
    def coverage(self) -> float:
        """Share of the items on the new side."""
        total = self.old_items + self.new_items
        return self.new_items / total if total else 0.0


class Watch:
    """Looks, in a thread of its own while it is entered. `latest` is what it saw."""

    def __init__(
        self,
        gallery: Gallery,
        journal: Journal,
        plan: Plan,
        steps: StepRunner,
        measures: Measures,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._gallery = gallery
        self._journal = journal
        self._plan = plan
        self._steps = steps
        self._measures = measures
        self._clock = clock
        self._meter = RateMeter(_RATE_SECONDS)
        self._rates: deque[Rates] = deque(maxlen=_HISTORY)
        self._recent_latencies: deque[RecentLatency] = deque(maxlen=_HISTORY)
        self._stop = threading.Event()
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="hotfill-watch", daemon=True)
        self.latest = self._look(0)

    def begin(self) -> None:
        """Begin to look every second."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def refresh(self) -> UpgradeSnapshot:
        """Look now."""
        with self._looking:
            self.latest = self._look(self.latest.number + 1)
            return self.latest

    def _run(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            try:
                self.refresh()
            except HotfillError as error:  # a full disk, a journal held by others: look again
                _log.warning("the status could not be read: %s", error)

    def _look(self, number: int) -> UpgradeSnapshot:
        now = self._clock()
        status = take_status(self._journal, self._plan)
        new_items = self._count(self._plan.new_model)
        if not self._rates or now - self._rates[-1].at >= EVERY_SECONDS / 2:
            self._note(now, status.embedded, status.written, new_items)
        return UpgradeSnapshot(
            number=number,
            at=now,
            status=status,
            old_items=len(self._gallery) - new_items,
            new_items=new_items,
            rates=tuple(self._rates),
            run=self._steps.last,
            latencies=self._measures.latencies(),
            recent_latencies=tuple(self._recent_latencies),
            compositions=self._measures.compositions(),
            traffic_share=self._measures.recent_new_share(),
            quality=tuple(self._journal.facts("quality")),
            facts=tuple(deque(filter(_is_news, self._journal.facts()), maxlen=_FACTS)),
            dead_letters=self._journal.dead_letters()[-_LETTERS:],
            verified=self._journal.last("verified"),
        )

    def _note(self, now: float, embedded: int, written: int, visible: int) -> None:
        self._rates.append(Rates(now, *self._meter.note(now, embedded, written, visible)))
        if (latency := self._measures.recent_latency(now)) is not None:
            self._recent_latencies.append(latency)

    def _count(self, model: ModelId) -> int:
        try:
            return self._gallery.count(model)
        except ModelMismatchError:  # not prepared yet, or gone on the way back
            return 0


def _is_news(fact: Fact) -> bool:
    return fact.kind != "quality"  # comes often, and has a section of its own
