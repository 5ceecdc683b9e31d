"""Who has logged in to the dashboard: a browser cannot send a token with every request.

The cookie holds a random text; what it stands for is kept here, and ends with the process.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from hotfill.service.tokens import hash_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.service.tokens import TokenSettings

COOKIE = "hotfill_session"
LASTS_SECONDS = 12 * 3600.0
_MOST = 1000  # open at once; beyond it the oldest end


class Sessions:
    """Open sessions. Not for several threads: it belongs to the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[str, tuple[TokenSettings, float]] = {}

    def begin(self, token: TokenSettings) -> str:
        """Open a session for the holder of a token; returns the value of its cookie."""
        key = secrets.token_urlsafe(32)
        # Found by a hash: how long a look-up takes says nothing about the key itself.
        self._open[hash_of(key)] = (token, self._clock() + LASTS_SECONDS)
        if len(self._open) > _MOST:
            del self._open[next(iter(self._open))]
        return key

    def holder(self, key: str) -> TokenSettings | None:
        """Tell whose session a cookie is; None when it has ended."""
        token, until = self._open.get(hash_of(key), (None, 0.0))
        return token if self._clock() < until else None

    def end(self, key: str) -> None:
        """Close a session. Idempotent."""
        self._open.pop(hash_of(key), None)
