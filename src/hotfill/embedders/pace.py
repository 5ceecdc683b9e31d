"""Go no faster than a number of calls a minute."""

from __future__ import annotations

import threading
import time


class Pace:
    """Spreads work evenly over time; several threads may share one.

    per_minute: how much is allowed, > 0; None for no limit. Work is charged when its size is known;
    who comes next waits until it has been worked off.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._seconds_each = 60.0 / per_minute if per_minute else 0.0
        self._free_at = 0.0
        self._lock = threading.Lock()

    def wait(self, amount: float = 0.0) -> None:
        """Wait for one's turn, and charge what is known of the work already."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._free_at)
            self._free_at = turn + amount * self._seconds_each
        if turn > now:
            time.sleep(turn - now)

    def charge(self, amount: float) -> None:
        """Charge work whose size became known afterwards."""
        with self._lock:
            self._free_at = max(time.monotonic(), self._free_at) + amount * self._seconds_each
