"""What is seen of the upgrade every second: how far it is, how fast, and what was measured.

One look serves everybody: the dashboard of each visitor, the metrics, and the coverage that
searches report. What the charts show is noted in the journal now and then (`served`), so that it
outlives the process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from hotfill.errors import HotfillError, ModelMismatchError
from hotfill.service.measures import RecentLatency
from hotfill.upgrade.backfill import is_reembedded
from hotfill.upgrade.phases import ENDED
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
_NOTED_SECONDS = 10.0  # between two notes in the journal, at first
_RATE_SECONDS = 10.0  # rates are averages over this long
_MOST_POINTS = 600  # of a chart
_FACTS = 12
_LETTERS = 10


class Dated(Protocol):
    """Anything with a moment, in seconds since the epoch."""

    @property
    def at(self) -> float:
        """The moment."""


Point = TypeVar("Point", bound=Dated)


def _is_noise(fact: Fact) -> bool:
    """Tell what is no news: what charts and counts show, and the fit of a refresh that says so."""
    return fact.kind in ("served", "imputed") or (fact.kind == "fit" and "tenths" in fact.body)


class _Noted(NamedTuple):
    at: float


class Trail(Generic[Point]):
    """A history of any length in at most 600 points.

    When it is full, every other point goes, and from then on half as many are taken. So what is
    noted in all grows with the logarithm of the time.
    """

    def __init__(self, step_seconds: float) -> None:
        self._step_seconds = step_seconds
        self.points: list[Point] = []

    def note(self, point: Point, *, anyway: bool = False) -> bool:
        """Take a point, unless the one before is too young. Tells whether it was taken."""
        young = self.points and 0 <= point.at - self.points[-1].at < self._step_seconds
        if young and not anyway:
            return False
        self.points.append(point)
        if len(self.points) > _MOST_POINTS:
            self.points = self.points[::2]  # 601 points: the first and the last stay
            self._step_seconds *= 2
        return True

    def until(self, now: Point | None) -> tuple[Point, ...]:
        """Return the points, with the present one at their end."""
        last = self.points[-1:]
        return (*self.points, now) if now is not None and last != [now] else (*self.points,)


class Rates(NamedTuple):
    """Items per second, over the last seconds, at one moment (seconds since the epoch)."""

    at: float
    embedded: float
    written: float
    visible: float


@dataclass(frozen=True, slots=True)
class UpgradeSnapshot:
    """Everything that the dashboard shows, of one moment.

    number: rises with every look. coverage: share of items that are found by the new model's own
    vector, from 0 to 1.
    old_items: on older sides. imputed_items: on the new side, by a vector imputed from an older
    one. new_items: on the new side, by the new model's own vector.
    rates, recent_latencies: histories, oldest first, over restarts; the last rates are of now.
    traffic_share: share of the last minute's hits by the new model's own vectors; None without
    hits.
    quality: what the canaries showed so far, oldest first. verified: the last verification, as the
    journal has it. embeds_more: whether the configuration lets what stayed imputed be embedded.
    """

    number: int
    at: float
    status: Status
    old_items: int
    imputed_items: int
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
    embeds_more: bool = False

    @property
    def coverage(self) -> float:
        """Share of the items that are found by the new model's own vector."""
        total = self.old_items + self.imputed_items + self.new_items
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
        *,
        embeds_more: bool = False,
    ) -> None:
        self._gallery = gallery
        self._journal = journal
        self._plan = plan
        self._steps = steps
        self._embeds_more = embeds_more
        self._measures = measures
        self._clock = clock
        self._meter = RateMeter(_RATE_SECONDS)
        self._rates_now: Rates | None = None
        self._rates: Trail[Rates] = Trail(EVERY_SECONDS / 2)
        self._recent_latencies: Trail[RecentLatency] = Trail(EVERY_SECONDS / 2)
        self._noted: Trail[_Noted] = Trail(_NOTED_SECONDS)
        self._noted_searches = measures.summary()
        self._unnoted: dict[str, Any] | None = None  # what the charts show since the last note
        self._news: deque[Fact] = deque(maxlen=_FACTS)
        self._quality: list[Fact] = []
        self._read = 0
        self._remember()
        self._stop = threading.Event()
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="hotfill-watch", daemon=True)
        self.latest = self._look(0)

    def begin(self) -> None:
        """Begin to look every second."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking, and note what the charts show."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._tell(self.latest, last=True)

    def refresh(self) -> UpgradeSnapshot:
        """Look now."""
        with self._looking:
            self.latest = self._look(self.latest.number + 1)
            return self.latest

    def _run(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            try:
                self._tell(self.refresh())
            except HotfillError as error:  # a full disk, a journal held by others: look again
                _log.warning("the status could not be read: %s", error)

    def _look(self, number: int) -> UpgradeSnapshot:
        now = self._clock()
        status = take_status(self._journal, self._plan)
        on_new_side, new_items = self._counts(self._plan.new_model)
        if (search := self._measures.unread()) is not None:
            states = self._gallery.get(search.item_ids)
            own = sum(
                each is not None and is_reembedded(each, self._plan.new_model) for each in states
            )
            self._measures.told(search, new_items / max(len(self._gallery), 1), own)
        if self._rates_now is None or now - self._rates_now.at >= EVERY_SECONDS / 2:
            counts = (status.embedded, status.written, new_items)
            self._rates_now = Rates(now, *self._meter.note(now, *counts))
            self._rates.note(self._rates_now)
        latency = self._measures.recent_latency(now)
        if latency is not None:
            self._recent_latencies.note(latency)
        self._read_facts()
        return UpgradeSnapshot(
            number=number,
            at=now,
            status=status,
            old_items=len(self._gallery) - on_new_side,
            imputed_items=on_new_side - new_items,
            new_items=new_items,
            rates=self._rates.until(self._rates_now),
            run=self._steps.last,
            latencies=self._measures.latencies(),
            recent_latencies=self._recent_latencies.until(latency),
            compositions=self._measures.compositions(),
            traffic_share=self._measures.recent_new_share(),
            quality=tuple(self._quality),
            facts=tuple(self._news),
            dead_letters=self._journal.dead_letters()[-_LETTERS:],
            verified=self._journal.last("verified"),
            embeds_more=self._embeds_more,
        )

    def _read_facts(self) -> None:
        """Read what the journal has got since the look before."""
        for fact in self._journal.facts(after=self._read):
            self._read = fact.number
            if fact.kind == "quality":
                self._quality.append(fact)  # comes often, and has a section of its own
            elif not _is_noise(fact):
                self._news.append(fact)

    def _remember(self) -> None:
        """Take up the charts where the process before left them."""
        for fact in self._journal.facts("served"):
            body = fact.body
            self._noted.note(_Noted(body["at"]))
            # The last note of a life may be young, and the only one that a short backfill has.
            self._rates.note(Rates(body["at"], *body["rates"]), anyway=True)
            if body["latency"] is not None:
                latency = RecentLatency(body["at"], *body["latency"])
                self._recent_latencies.note(latency, anyway=True)

    def _tell(self, seen: UpgradeSnapshot, *, last: bool = False) -> None:
        """Note in the journal what the charts show, where there is something new to show."""
        if seen.status.phase in ENDED:
            return
        rates = [round(each, 3) for each in seen.rates[-1][1:]]
        searches = self._measures.summary()
        if searches != self._noted_searches or any(rates):
            latency = next(
                (each for each in seen.recent_latencies[-1:] if each.at == seen.at), None
            )
            self._unnoted = {
                "at": seen.at,
                "rates": rates,
                "latency": None if latency is None else [round(each, 6) for each in latency[1:]],
                "searches": searches,
            }
        elif self._unnoted is not None:
            last = True  # of what has come to rest: a backfill may be over before the next note
        if self._unnoted is None or not (self._noted.note(_Noted(self._unnoted["at"])) or last):
            return
        self._noted_searches = self._unnoted["searches"]
        with suppress(HotfillError):  # a full disk, say: the next look tells
            self._journal.record("served", **self._unnoted)
        self._unnoted = None

    def _counts(self, model: ModelId) -> tuple[int, int]:
        """Count the items of a side, and those of them with the model's own vector."""
        try:
            own = self._gallery.count(model, origin=model.fingerprint)
            return max(self._gallery.count(model), own), own
        except ModelMismatchError:  # not prepared yet, or gone on the way back
            return 0, 0
