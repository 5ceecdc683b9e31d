"""What cannot be undone is asked for twice: the first call gives a token for the second."""

from __future__ import annotations

import secrets
import threading
import time
from typing import TYPE_CHECKING

from hotfill.errors import InputError
from hotfill.service.tokens import hash_of

if TYPE_CHECKING:
    from collections.abc import Callable

LASTS_SECONDS = 120.0


class Confirmation:
    """Holds at most one open question; a new one replaces it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._token: str | None = None
        self._by = ""
        self._until = 0.0

    def ask(self, by: str) -> str:
        """Open the question; returns the token that answers it. by: who must answer."""
        self._token = secrets.token_urlsafe(16)
        self._by = by
        self._until = self._clock() + LASTS_SECONDS
        return self._token

    def answer(self, token: str, by: str) -> None:
        """Close the question. Raises InputError unless it is the right token, in time, once."""
        with self._lock:  # of two calls at once, one finds it used
            expected, self._token = self._token, None
        given = secrets.compare_digest(hash_of(token), hash_of(expected or ""))
        if expected is None or not given or by != self._by or self._clock() >= self._until:
            raise InputError(
                "that confirmation is unknown, used or out of date; nothing was changed: ask "
                "again without one, then confirm with the token you get"
            )
