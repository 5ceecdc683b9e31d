"""Who asks, and may they? Dependencies of the routes: `may_read`, `may_write`, `may_operate`.

Where the configuration has no tokens (only possible on loopback) everybody on this machine may do
everything. How often somebody may ask is for the proxy in front to limit.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from hotfill.errors import ConfigError
from hotfill.service.tokens import Role, allows, hash_of, holder_of

if TYPE_CHECKING:
    from hotfill.service.settings import ServiceSettings
    from hotfill.service.tokens import TokenSettings

COOKIE = "hotfill_session"
SESSION_SECONDS = 12 * 3600.0
_MOST_SESSIONS = 1000  # open at once; beyond it the oldest end


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever asks. name: of the token, or "local" where there are no tokens."""

    name: str
    role: Role


class Sessions:
    """Who has logged in to the dashboard: a browser cannot send a token with every request.

    The cookie holds a random text. What it stands for is kept here, not signed into the cookie, so
    that logging out ends it; and it ends with the process. For one thread: the event loop's.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[str, tuple[TokenSettings, float]] = {}

    def begin(self, token: TokenSettings) -> str:
        """Open a session for the holder of a token; returns the value of its cookie."""
        key = secrets.token_urlsafe(32)
        # Found by a hash: how long a look-up takes says nothing about the key itself.
        self._open[hash_of(key)] = (token, self._clock() + SESSION_SECONDS)
        if len(self._open) > _MOST_SESSIONS:
            del self._open[next(iter(self._open))]
        return key

    def holder(self, key: str) -> TokenSettings | None:
        """Return the token whose session a cookie is; None when it has ended."""
        token, until = self._open.get(hash_of(key), (None, 0.0))
        return token if self._clock() < until else None

    def end(self, key: str) -> None:
        """Close a session. Idempotent."""
        self._open.pop(hash_of(key), None)


class Door:
    """Knows the tokens and the sessions."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.tokens = settings.tokens
        self.sessions = Sessions()

    def change(self, settings: ServiceSettings) -> None:
        """Let in the tokens of other settings from now on; sessions of those gone have ended.

        Raises ConfigError for the first token and for none at all: what else depends on that is
        decided when the service starts.
        """
        if bool(settings.tokens) != bool(self.tokens):
            raise ConfigError("to begin or to end with tokens, start the service again")
        self.tokens = settings.tokens

    def caller(self, bearer: str | None, cookie: str | None) -> Principal | None:
        """Return who it is; None when nobody known."""
        if not self.tokens:
            return Principal("local", "operate")
        if bearer is not None:
            token = holder_of(bearer, self.tokens)
        else:
            token = self.sessions.holder(cookie) if cookie is not None else None
            if token not in self.tokens:  # taken away, or given another role, since
                token = None
        return Principal(token.name, token.role) if token else None


async def _caller(request: Request) -> Principal | None:
    door: Door = request.app.state.door
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = bearer.strip() if scheme.lower() == "bearer" else None
    caller = door.caller(given, request.cookies.get(COOKIE))
    if caller is not None:
        request.state.caller = caller.name  # for the access log
    return caller


Known = Annotated[Principal | None, Depends(_caller)]


def _needs(role: Role) -> Callable[[Principal | None], Awaitable[Principal]]:
    async def check(caller: Known) -> Principal:
        if caller is None:
            raise HTTPException(
                401, "give a token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"}
            )
        if not allows(caller.role, role):
            raise HTTPException(
                403, f"the token {caller.name!r} may {caller.role}; this needs one that may {role}"
            )
        return caller

    return check


may_read = _needs("read")
may_write = _needs("write")
may_operate = _needs("operate")
