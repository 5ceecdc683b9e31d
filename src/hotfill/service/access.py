"""Who asks, and may they? Dependencies of the routes: `may_read`, `may_write`, `may_operate`.

Where the configuration has no tokens (only possible on loopback) everybody on this machine may do
everything.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.exceptions import HTTPException

from hotfill.service.rate_limit import RateLimit
from hotfill.service.sessions import COOKIE, Sessions
from hotfill.service.tokens import Role, allows, holder_of

if TYPE_CHECKING:
    from hotfill.service.settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever asks. name: of the token, or "local" where there are no tokens."""

    name: str
    role: Role


class Door:
    """Knows the tokens and the sessions, and counts calls."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.tokens = settings.tokens
        self.sessions = Sessions()
        self.rate_limit = RateLimit(settings.requests_per_second)

    def caller(self, bearer: str | None, cookie: str | None) -> Caller | None:
        """Tell who it is; None when nobody known."""
        if not self.tokens:
            return Caller("local", "operate")
        if bearer is not None:
            token = holder_of(bearer, self.tokens)
        else:
            token = self.sessions.holder(cookie) if cookie is not None else None
        return Caller(token.name, token.role) if token else None


def caller_in(request: Request) -> Caller | None:
    """Tell who asks; None when nobody known. Counts the call: HTTPException (429) when too many."""
    door: Door = request.app.state.door
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = bearer.strip() if scheme.lower() == "bearer" else None
    caller = door.caller(given, request.cookies.get(COOKIE))
    if caller is not None:
        request.state.caller = caller.name  # for the access log
        address = request.client.host if request.client else ""
        if wait := door.rate_limit.wait_seconds(caller.name if door.tokens else address):
            raise HTTPException(
                429,
                f"too many calls of {caller.name!r}; again in {wait:.2f} s",
                {"Retry-After": str(math.ceil(wait))},
            )
    return caller


def let_in(caller: Caller | None, role: Role) -> Caller:
    """Return a caller who may do what a role may; others get an HTTPException (401, 403)."""
    if caller is None:
        raise HTTPException(
            401, "give a token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"}
        )
    if not allows(caller.role, role):
        raise HTTPException(
            403, f"the token {caller.name!r} may {caller.role}; this needs one that may {role}"
        )
    return caller


# These two read nothing: they put the ways to come in into the description of the API.
_bearer = HTTPBearer(auto_error=False, description="A token of [service.tokens].")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="Of the dashboard's log-in.")


async def _caller(
    request: Request,
    bearer: Annotated[object, Depends(_bearer)],
    cookie: Annotated[object, Depends(_cookie)],
) -> Caller | None:
    return caller_in(request)


Known = Annotated[Caller | None, Depends(_caller)]


def _needs(role: Role) -> Callable[[Caller | None], Awaitable[Caller]]:
    async def check(caller: Known) -> Caller:
        return let_in(caller, role)

    return check


may_read = _needs("read")
may_write = _needs("write")
may_operate = _needs("operate")
