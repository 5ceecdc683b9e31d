"""Asked before every batch: may the work go on, or must it wait? How many items does it take?"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from hotfill.formatting import duration, far
from hotfill.upgrade.phases import throttles
from hotfill.upgrade.plan import LEAST_BATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hotfill.stores.base import Gallery
    from hotfill.upgrade.journal.base import Journal, Stage
    from hotfill.upgrade.phases import Phase

INDEXING = "indexing"
"""What a process does that waits for an index (`Progress.doing`)."""

_POLL_SECONDS = 0.2  # how soon a resume or a lower measurement is noticed


@dataclass(frozen=True, slots=True)
class StepPart:
    """A part of what a process does now. what: in words, such as "embedding a sample".

    done, total: how much of it, in whatever it counts; 0 of 0 where nobody can count.
    seconds: since it began.
    """

    what: str
    done: int
    total: int
    seconds: float

    def __str__(self) -> str:
        """Say how far it is; of what nobody counts, for how long it has been going on."""
        if not self.total:
            return f"{self.what} for {duration(self.seconds)}"
        return f"{self.what} {far(self.done, self.total, self.seconds)}"


@dataclass(frozen=True, slots=True)
class TooDear:
    """A refresh that was left out. seconds: what it would take; ahead_seconds: embedding does yet.

    tenths: how many had moved.
    """

    tenths: int
    seconds: float
    ahead_seconds: float

    def __str__(self) -> str:
        return (
            f"at {10 * self.tenths}% imputed vectors were not made anew: that would take about "
            f"{duration(self.seconds)}, and {duration(self.ahead_seconds)} of embedding were "
            "ahead; `refresh_share` in [upgrade] says how much of that it may take"
        )


def left_out(journal: Journal) -> TooDear | None:
    """Read the refresh that came last, where it was left out."""
    last = journal.last("refresh")
    found = None if last is None else last.body.get("too_dear")
    return None if found is None else TooDear(**found)


@dataclass(slots=True)
class Progress:
    """What this process has done, in items. working_seconds: time not spent waiting for holds.

    doing: what it does now that moves no item, such as "indexing"; empty otherwise.
    batch_size: items of its batches, where that is found; None before, and where it is given.
    """

    embedded: int = 0
    written: int = 0
    working_seconds: float = 0.0
    doing: str = ""
    batch_size: int | None = None
    _part: tuple[str, int, int, float] | None = None  # as `StepPart`, with when it began

    @contextmanager
    def at(self, doing: str) -> Iterator[None]:
        """Say what is done while the block runs."""
        before, self.doing = self.doing, doing
        try:
            yield
        finally:
            self.doing = before

    @contextmanager
    def counting(self, what: str, total: int = 0) -> Iterator[Callable[[int], None]]:
        """Say that this part is done while the block runs; yields what to tell how much is done.

        what, total: see `StepPart`.
        """
        before, began = self._part, time.monotonic()

        def told(done: int) -> None:
            self._part = (what, done, max(total, done) if total else 0, began)

        told(0)
        try:
            yield told
        finally:
            self._part = before

    @property
    def part(self) -> StepPart | None:
        """What is done just now, as far as that has a name of its own."""
        if (now := self._part) is None:
            return None
        what, done, total, began = now
        return StepPart(what, done, total, time.monotonic() - began)


@dataclass(slots=True)
class Pace:
    """Lets batches through, at a pace. It never waits itself: whoever asks does.

    probes: measurements by name, units in the names; limits: the highest value allowed for each.
    duty_cycle: share of the time spent working, in (0, 1]; the rest is waited.
    phase: the work ends when the upgrade leaves it (another process may abort it).
    measures: whether this process measures and throttles; others obey the holds they read.
    stop: set it to make the work end after the batches in hand.
    batch_size: what finds how many items a batch takes; it hears of throttles.
    is_ahead: asked before each batch: whether moves have outrun the store's index, and must wait.

    A postponed cutover does not hold the work: that is the point of postponing it.
    """

    journal: Journal
    probes: Mapping[str, Callable[[], float]]
    limits: Mapping[str, float]
    duty_cycle: float
    phase: Phase
    progress: Progress
    measures: bool = True
    stop: threading.Event = field(default_factory=threading.Event)
    batch_size: BatchSize | None = None
    is_ahead: Callable[[], bool] = lambda: False
    _opened: float | None = None

    def __call__(self) -> float | None:
        """Return 0 to go on, seconds to wait before asking again, or None to stop."""
        if self.stop.is_set() or self.is_over():
            return None
        if rest := self._rest():
            return rest
        if self.measures:
            self._measure()
        kinds = {hold.kind for hold in self.journal.holds()} - {"postponed"}
        if "throttled" in kinds and self.batch_size is not None:
            self.batch_size.throttled()
        if kinds or self._waits_for_index():
            return _POLL_SECONDS
        self._opened = time.monotonic()
        return 0.0

    def end(self) -> None:
        """Account for the batches that were in hand when there was no next one."""
        self._rest()

    def is_over(self) -> bool:
        """Tell whether the upgrade has left the phase of the work, so that nothing may be moved.

        Raises UpgradeBusyError when another process leads instead of this one.
        """
        self.journal.check_leading()
        return self.journal.phase is not self.phase

    def _rest(self) -> float:
        """Account for the time since the last batch was let through; the other share is rest."""
        if self._opened is None:
            return 0.0
        worked = time.monotonic() - self._opened
        self.progress.working_seconds += worked
        self._opened = None
        return worked * (1 / self.duty_cycle - 1)

    def _waits_for_index(self) -> bool:
        """Tell whether moves wait for an index, and let people see it."""
        ahead, seen = self.is_ahead(), self.progress.doing
        if seen in ("", INDEXING):
            self.progress.doing = INDEXING if ahead else ""
        return ahead

    def _measure(self) -> None:
        measured = {name: probe() for name, probe in self.probes.items()}
        now = {hold.about: hold for hold in throttles(measured, self.limits, time.time())}
        for hold in now.values():
            self.journal.hold(hold)
        for hold in self.journal.holds():
            if hold.kind == "throttled" and hold.about not in now:
                self.journal.release("throttled", hold.about)


# How many items a batch takes, found while batches are worked on ---------------------------------

MOST_BATCH = 4096
"""Items of a batch whose size is found, at most."""

_BATCH_BYTES = 32 * 2**20  # of contents and vectors; about seven batches are in memory at a time
_BATCH_SECONDS = 30.0  # longer ones hear late of a pause, and a kill throws away more
_PAYS = 1.05  # times the items a second of the best size so far
_BATCHES, _JUDGED_SECONDS = 5, 1.0  # of work, at least, before a size is judged by the middle one,
_CLEARLY = 1.5  # but for the seconds where it is better by as much
_CALM_SECONDS = 120.0  # of work without a throttle before it tries to grow again
_AGAIN_SECONDS = 600.0  # of work after which it looks again: contents and machines change


class BatchSize:
    """Finds how many items a batch takes: what a batch costs by itself weighs less with each.

    From the least the size doubles while items a second rise by more than a twentieth. When two
    doublings together did not pay it goes back to the last size that did, notes it in the journal,
    and looks again after ten minutes of work, from half of it. Another process, or the next run,
    begins with what was noted. A throttle halves the size, and it does not grow before two minutes
    of work without one.

    stage, dimension: of the work. call_seconds: how long a call for one batch may take. Bounds:
    `LEAST_BATCH` and `MOST_BATCH` items, 32 MiB of contents and vectors, half of `call_seconds` and
    30 seconds, and half of what an embedder had no memory for. Safe to use from several threads.
    """

    def __init__(
        self, journal: Journal, stage: Stage, dimension: int, call_seconds: float = 600.0
    ) -> None:
        self._journal = journal
        self._stage = stage
        self._vector_bytes = 4 * dimension
        self._longest = min(_BATCH_SECONDS, call_seconds / 2)
        self._lock = threading.Lock()
        self._least = LEAST_BATCH
        self._most = self._fitting = MOST_BATCH
        self._halves = True  # only once between two batches
        self._noted = 0
        for fact in journal.facts("batch_size"):
            if fact.body["stage"] == stage:
                self._noted = int(fact.body["items"])
        self._size = self._least
        self._best = (self._least, 0.0)  # the last size that paid, and its items a second
        self._rates: list[float] = []  # of the batches of this size,
        self._worked = 0.0  # and the seconds of all of them
        self._settled_for: float | None = None  # seconds of work until it looks again
        if self._noted:
            self._settle(self._noted, _AGAIN_SECONDS)

    def next(self) -> int:
        """Tell how many items the next batch takes."""
        with self._lock:
            self._halves = True
            return self._size

    def note(self, asked: int, items: int, seconds: float, content_bytes: int) -> None:
        """Learn what a batch took that was wholly worked through.

        asked: what `next` said. items: what it had. seconds: of what worked on it longest: reading,
        embedding and moving overlap, so that this is what bounds the pace. content_bytes: of all
        its contents.
        """
        with self._lock:
            if asked != self._size or items <= asked // 2:
                return  # of a size that was left, or of what failed or comes last
            if items > asked:  # cut by an earlier setting, and taken whole
                self._least = max(self._least, min(items, MOST_BATCH))
                self._climb(max(self._least, self._size))
                return
            self._fitting = (
                _BATCH_BYTES * items // max(1, content_bytes + self._vector_bytes * items)
            )
            if not self._fits(self._size):
                self._settle(self._size // 2, _AGAIN_SECONDS)
            elif self._settled_for is None:
                self._rates.append(items / max(seconds, 1e-9))
                self._worked += seconds
                if len(self._rates) >= _BATCHES:
                    self._judge(median(self._rates))
            else:
                self._settled_for -= seconds
                if self._settled_for < 0:
                    self._climb(self._size // 2)

    def throttled(self) -> None:
        """Take half, once for each batch that follows another, and do not grow for a while."""
        with self._lock:
            halves, self._halves = self._halves, False
            self._settle(self._size // 2 if halves else self._size, _CALM_SECONDS)

    def too_large(self, items: int) -> None:
        """Never again take as many: there was no memory for them."""
        with self._lock:
            self._most = max(self._least, min(self._most, items // 2))
            self._settle(min(self._size, self._most), _AGAIN_SECONDS)

    def _judge(self, rate: float) -> None:
        best, best_rate = self._best
        if self._worked < _JUDGED_SECONDS and rate < _CLEARLY * best_rate:
            return  # not before it has worked for longer
        if rate > _PAYS * best_rate:
            best, _ = self._best = (self._size, rate)
        grown = 2 * self._size
        if grown <= 4 * best and self._fits(grown) and grown / rate <= self._longest:
            self._size, self._rates, self._worked = grown, [], 0.0
        else:
            self._settle(best, _AGAIN_SECONDS)

    def _fits(self, items: int) -> bool:
        return items <= max(self._least, min(self._most, self._fitting))

    def _climb(self, items: int) -> None:
        self._size = max(items, self._least)
        self._best, self._rates, self._worked = (self._size, 0.0), [], 0.0
        self._settled_for = None

    def _settle(self, items: int, seconds: float) -> None:
        """Stay at a size for this many seconds of work."""
        self._climb(items)
        self._settled_for = seconds
        if self._size != self._noted:
            self._noted = self._size
            self._journal.record("batch_size", stage=self._stage, items=self._size)


def content_bytes(content: Any) -> int:
    """Tell how much memory a content takes, about; 0 for what tells nothing, such as a path."""
    if isinstance(size := getattr(content, "nbytes", None), int):  # an array, a tensor
        return size
    if isinstance(content, str | bytes | bytearray):
        return len(content)
    if isinstance(content, Mapping):
        return sum(map(content_bytes, content.values()))
    if isinstance(content, Sequence):
        return sum(map(content_bytes, content))
    if hasattr(content, "getbands"):  # a picture of Pillow
        return int(content.width * content.height * len(content.getbands()))
    return 0


# Whoever searches in another process hears of a phase before anything moves in it ----------------
# Such a process asks the journal for the phase every little while (`hotfill.serving`). Until it has
# heard that there are two sides it searches one, and would miss what has moved to the other.

NOTICE_SECONDS = 1.0
"""From the entering of a phase to the first move in it. A search whose knowledge of the phase is
older than this when it ends has to ask again."""


def give_notice(gallery: Gallery, stop: threading.Event) -> None:
    """Wait so long, where other processes may have the gallery open."""
    if gallery.capabilities.many_processes:
        stop.wait(NOTICE_SECONDS)
