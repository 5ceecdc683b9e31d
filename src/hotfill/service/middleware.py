"""What stands around every route: request ids with the access log, safety in browsers, body limit.

Starlette's TrustedHostMiddleware and body limit answer in plain text, and uvicorn's access log
writes paths, so ids of items; here every refusal is a problem document or a page, and the log has
routes.
"""

from __future__ import annotations

import logging
import re
import time
import traceback
import uuid
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic_core import to_json
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from hotfill.service.problems import problem
from hotfill.service.settings import is_loopback
from hotfill.tracing import span

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID: ContextVar[str] = ContextVar("hotfill_request_id", default="")
"""Of the request that this thread or task works for; empty elsewhere."""

ACCESS_LOG = "hotfill.service.access"

_access = logging.getLogger(ACCESS_LOG)
_errors = logging.getLogger("hotfill.service")

_REQUEST_ID = re.compile(r"[\w.-]{1,100}", re.ASCII)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not "no-referrer": with that, browsers send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class AccessLog:
    """The outermost middleware: gives each request an id, logs it, and answers what nobody foresaw.

    The log has one line of JSON for each request: who, what, how long. Never what was searched or
    written: paths are logged as routes (`/items/{item_id}`). An `X-Request-ID` that comes with a
    request is kept, so that a line can be found from the caller's own log.
    requested: called with the route and the status of each request.
    """

    def __init__(self, app: ASGIApp, requested: Callable[[str, int], None]) -> None:
        self._app = app
        self._requested = requested

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        REQUEST_ID.set(request_id)
        with span("request", carried=Headers(scope=scope)) as traced:
            route, status = await self._answered(scope, receive, send, request_id)
            if traced is not None:
                traced.set_attributes(
                    {"http.request.method": scope["method"], "http.route": route}
                    | {"http.response.status_code": status, "hotfill.request_id": request_id}
                )

    async def _answered(
        self, scope: Scope, receive: Receive, send: Send, request_id: str
    ) -> tuple[str, int]:
        """Answer a request; tells its route and the status."""
        status = 0
        began = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                header = (b"x-request-id", request_id.encode())
                message["headers"] = [*message["headers"], header]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            # Where it happened, but not its message: that may quote what was searched or written.
            frames = "".join(traceback.format_tb(error.__traceback__))
            _errors.error("unexpected %s in %s\n%s", type(error).__name__, request_id, frames)
            if status == 0:
                detail = "an unexpected error; the log of the service has the details"
                answer = problem(500, {"kind": "unexpected", "detail": detail})
                await answer(scope, receive, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path_format", "none")
            self._requested(route, status)
            if _access.isEnabledFor(logging.INFO):
                _access.info(to_json(_line(scope, route, status, began)).decode())
        return route, status


def _line(scope: Scope, route: str, status: int, began: float) -> dict[str, Any]:
    return {
        "at": round(time.time(), 3),
        "request_id": scope["state"]["request_id"],
        "method": scope["method"],
        "route": route,
        "status": status,
        "milliseconds": round(1000 * (time.perf_counter() - began), 2),
        "caller": scope["state"].get("caller", "nobody"),
    }


class BrowserSafety:
    """Keeps a stranger's web page from using a visitor's browser against this service.

    Adds headers to every answer. Refuses what another site's page sends; and, if `local_only`,
    every name but those of this machine, so that no foreign name can be made to lead here (DNS
    rebinding). Sec-Fetch-Site says which site sent a request, else Origin: the order of
    Go's http.CrossOriginProtection. Programs send neither and are let through.
    """

    def __init__(self, app: ASGIApp, local_only: bool) -> None:
        self._app = app
        self._local_only = local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_RAW_HEADERS]
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
        else:
            answer = problem(403, {"kind": "forbidden", "detail": refusal})
            await answer(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if self._local_only and not is_loopback(_name_in(f"//{host}")):
            return "without tokens this service answers only to names of this machine"
        if method in _READING:
            return None
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None:
            own = site in ("same-origin", "none")
        else:
            # "null" is the origin of a page in a sandbox, so it is foreign as well.
            own = origin is None or origin.partition("://")[2] == host
        return None if own else "a page of another site may not do this"


def _name_in(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


class BodyLimit:
    """Refuses larger bodies: by their declared length before they are read, else while they come.

    most_bytes: of one body.
    """

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._detail = f"a request may send {most_bytes} bytes at most"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self._most_bytes:
            values = {"kind": "request_entity_too_large", "detail": self._detail}
            await problem(413, values)(scope, receive, send)
            return
        received = 0

        async def counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most_bytes:
                raise HTTPException(413, self._detail)
            return message

        await self._app(scope, counting, send)
