"""What searches were like: how long they took, and what made the vectors of their hits.

In memory and bounded; `summary` is what outlives the process, in the journal. Everything here is
in seconds.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from hotfill.upgrade.view import MadeBy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Sides: TypeAlias = Literal["old", "both", "new"]
"""What a search looked at."""

HitsBy: TypeAlias = Literal[MadeBy, "new_or_imputed"]
"""What made the vector of a hit. The last: it stands on the new side, and nobody read whether the
new model embedded it."""

_KEPT = 5000  # latest searches of each kind
_RECENT_SECONDS = 60.0  # what a limit on latency looks at
BINS = 20  # of coverage, for the composition


@dataclass(frozen=True, slots=True)
class Latency:
    """Of the latest searches that looked at `sides`. searches: how many there were in all."""

    sides: Sides
    searches: int
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float


class RecentLatency(NamedTuple):
    """Of a minute's searches, whatever they looked at. at: its end, in seconds since the epoch."""

    at: float
    p50_seconds: float
    p99_seconds: float


@dataclass(frozen=True, slots=True)
class Composition:
    """The hits of searches of a mixed gallery while the coverage was in one bin.

    coverage: share of re-embedded items, the middle of the bin. hits: how many in all.
    new_share: share of them by the new model's own vectors. All from 0 to 1.
    """

    coverage: float
    hits: int
    new_share: float


class HitsOfSearch(NamedTuple):
    """The hits of a search by what made their vectors: how many.

    unread: ids of those on the new side of which the search did not read it.
    """

    old: int = 0
    imputed: int = 0
    new: int = 0
    unread: Sequence[str] = ()


class Unread(NamedTuple):
    """A search whose hits somebody may look up. old: how many of its hits need no look."""

    phase: str
    sides: Sides
    old: int
    item_ids: Sequence[str]


class _Search(NamedTuple):
    at: float
    seconds: float
    old_hits: float
    new_hits: float


class Measures:
    """Takes measurements of searches from several threads.

    before: the `summary` of the process before this one.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        before: Mapping[str, Any] | None = None,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._latest: dict[Sides, deque[_Search]] = {
            sides: deque(maxlen=_KEPT) for sides in get_args(Sides)
        }
        self._searches: dict[Sides, int] = dict.fromkeys(get_args(Sides), 0)
        self._hits = np.zeros((BINS, 2), dtype=np.int64)  # by older vectors, and by new ones
        self._made_by: dict[tuple[str, HitsBy], int] = {}  # hits of each phase
        self._unread: Unread | None = None
        self._missed = 0  # hits of searches like it, since the last that was looked up
        self._told: deque[_Search] = deque(maxlen=_KEPT)
        self._before: dict[Sides, Latency] = {}
        if before is not None:
            self._before = {
                sides: Latency(sides, *before["latencies"][sides])
                for sides in get_args(Sides)
                if sides in before["latencies"]
            }
            for number, old, new in before["hits"]:
                self._hits[number] = old, new

    def searched(
        self, phase: str, sides: Sides, seconds: float, coverage: float, hits: HitsOfSearch
    ) -> None:
        """Note one search. Unread hits wait for `told`, until the next search with such hits."""
        older, new = hits.old + hits.imputed, hits.new
        with self._lock:
            self._count(phase, "old", hits.old)
            self._count(phase, "imputed", hits.imputed)
            self._count(phase, "new", hits.new)
            if hits.unread:
                if (missed := self._unread) is not None:
                    self._count(missed.phase, "new_or_imputed", len(missed.item_ids))
                    self._missed += missed.old + len(missed.item_ids)
                self._unread = Unread(phase, sides, hits.old, hits.unread)
                older = new = 0
            self._searches[sides] += 1
            self._latest[sides].append(_Search(self._clock(), seconds, older, new))
            self._compose(sides, coverage, older, new)

    def unread(self) -> Unread | None:
        """Return the latest search with unread hits, once: to be told of by `told`."""
        with self._lock:
            unread, self._unread = self._unread, None
        return unread

    def told(self, search: Unread, coverage: float, new: int) -> None:
        """Note how many of a search's unread hits are by the new model's own vectors.

        In the recent share it stands for all such searches since the one before.
        """
        imputed = len(search.item_ids) - new
        with self._lock:
            times = 1 + self._missed / (search.old + len(search.item_ids))
            self._missed = 0
            self._count(search.phase, "imputed", imputed)
            self._count(search.phase, "new", new)
            older = search.old + imputed
            self._told.append(_Search(self._clock(), 0.0, times * older, times * new))
            self._compose(search.sides, coverage, older, new)

    def hits(self) -> dict[tuple[str, HitsBy], int]:
        """Count the hits of this process, by phase and what made their vectors."""
        with self._lock:
            return dict(self._made_by)

    def _count(self, phase: str, made_by: HitsBy, hits: int) -> None:
        if hits:
            self._made_by[phase, made_by] = self._made_by.get((phase, made_by), 0) + hits

    def _compose(self, sides: Sides, coverage: float, older: int, new: int) -> None:
        if sides == "both":
            self._hits[min(int(coverage * BINS), BINS - 1)] += (older, new)

    def recent_latency(self, at: float) -> RecentLatency | None:
        """Sum up the last minute; None when nobody searched. at: now, since the epoch."""
        seconds = [each.seconds for each in self._recent()]
        return RecentLatency(at, *np.percentile(seconds, (50, 99)).tolist()) if seconds else None

    def recent_new_share(self) -> float | None:
        """Share of the last minute's hits by the new model's own vectors; None without hits.

        It is the coverage as searchers feel it: an item counts as often as it is found.
        """
        recent = self._recent(self._told)
        new = sum(each.new_hits for each in recent)
        hits = new + sum(each.old_hits for each in recent)
        return new / hits if hits else None

    def latencies(self) -> tuple[Latency, ...]:
        """Sum up the latest searches, by what they looked at; nothing where there were none.

        Until this process has searched so itself, as the process before summed it up.
        """
        with self._lock:
            kept = {
                sides: [each.seconds for each in latest] for sides, latest in self._latest.items()
            }
            counts = dict(self._searches)
        found: list[Latency] = []
        for sides, values in kept.items():
            before = self._before.get(sides)
            if values:
                searches = counts[sides] + (before.searches if before else 0)
                figures = np.percentile(values, (50, 95, 99)).tolist()
                found.append(Latency(sides, searches, *figures))
            elif before is not None:
                found.append(before)
        return tuple(found)

    def summary(self) -> dict[str, Any]:
        """Return what the next process goes on from, as plain values of bounded number."""
        with self._lock:
            hits = self._hits.tolist()
        return {
            "latencies": {
                each.sides: [
                    each.searches,
                    *(round(s, 6) for s in (each.p50_seconds, each.p95_seconds, each.p99_seconds)),
                ]
                for each in self.latencies()
            },
            "hits": [[number, *row] for number, row in enumerate(hits) if any(row)],
        }

    def compositions(self) -> tuple[Composition, ...]:
        """What made the vectors of hits, by coverage; bins without hits are left out."""
        with self._lock:
            hits = self._hits.copy()
        return tuple(
            Composition((number + 0.5) / BINS, int(old + new), float(new / (old + new)))
            for number, (old, new) in enumerate(hits)
            if old + new
        )

    def _recent(self, *more: Iterable[_Search]) -> list[_Search]:
        since = self._clock() - _RECENT_SECONDS
        with self._lock:
            kept = (*self._latest.values(), *more)
            return [each for some in kept for each in some if each.at >= since]
