"""Content versions: numbers that grow and are never used twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

_STEP = 60 * 10**9  # versions are nanoseconds: the ceiling is kept anew about once a minute


class VersionClock:
    """Gives out versions near the time in nanoseconds, each larger than all before.

    floor: every version is larger; a store that outlives its process gives the largest one it may
    have given out before. Not safe for use by several threads at once; stores hold their lock.
    """

    def __init__(self, floor: int = 0) -> None:
        self.last = floor

    def take(self, n: int) -> NDArray[np.int64]:
        """Return the next n versions, int64 (n,)."""
        first = max(self.last + 1, time.time_ns())
        self.last = max(self.last, first + n - 1)
        return np.arange(first, first + n, dtype=np.int64)


class LastingClock:
    """A `VersionClock` that goes on where a killed process stopped.

    ceiling: no version above it has been given out, by any process. keep: makes a higher ceiling
    durable; it is called before a version above the one before it is given out.
    """

    def __init__(self, ceiling: int, keep: Callable[[int], None]) -> None:
        self._clock = VersionClock(floor=ceiling)
        self._ceiling = ceiling
        self._keep = keep

    def take(self, n: int) -> NDArray[np.int64]:
        """Return the next n versions, int64 (n,). Raises what `keep` raises."""
        versions = self._clock.take(n)
        if self._clock.last > self._ceiling:
            ceiling = self._clock.last + _STEP
            self._keep(ceiling)
            self._ceiling = ceiling
        return versions
