"""Content versions: numbers that grow and are never used twice."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray


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
