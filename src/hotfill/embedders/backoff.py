"""How long to wait before asking a server again."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from failure to failure, each shortened by chance.

    tries: how often a request is sent at most, >= 1. first_seconds: the first wait at most.
    longest_seconds: of any wait; a server that asks for a longer one is not waited for.

    The wait is drawn evenly between nothing and its limit ("full jitter"), so that many clients
    that failed together do not come back together.
    """

    tries: int = 6
    first_seconds: float = 0.5
    longest_seconds: float = 60.0

    def seconds(self, failures: int, asked: float | None = None) -> float:
        """Choose the wait after some failures (>= 1), never shorter than the server asked."""
        limit = min(self.longest_seconds, self.first_seconds * 2 ** (failures - 1))
        return max(random.uniform(0.0, limit), asked or 0.0)


def retry_after_seconds(header: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date. None when absent or unreadable."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
