"""How often one caller may come: a token bucket each.

The known libraries bring storage servers or timer threads; this needs two numbers per caller.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_CALLERS = 10_000  # remembered at once; beyond it the oldest are forgotten


class RateLimit:
    """Lets a caller in `per_second` times a second, and that many at once after a rest.

    Not for several threads: it belongs to the event loop.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._most = max(1.0, per_second)
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}  # caller -> what was left, and when

    def wait_seconds(self, caller: str) -> float:
        """Count one call. Returns 0 when it may pass, else in how many seconds it could."""
        now = self._clock()
        before, then = self._left.pop(caller, (self._most, now))
        left = min(self._most, before + (now - then) * self._per_second)
        wait = 0.0 if left >= 1 else (1 - left) / self._per_second
        self._left[caller] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > _MOST_CALLERS:
            del self._left[next(iter(self._left))]
        return wait
