"""What keeps a stranger's web page from using a visitor's browser against this service.

Headers for our own pages; and refusal of requests that come from another site, or that reach a
service without tokens under a foreign name (DNS rebinding).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from hotfill.service.problems import problem
from hotfill.service.settings import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

# As they are sent: no answer of ours has one of them already.
_RAW = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class BrowserSafety:
    """Middleware: adds the headers, refuses foreign origins; and foreign names if `local_only`."""

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
                message["headers"] = [*message["headers"], *_RAW]
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
            return "without tokens this service answers to names of this machine only"
        if method in _READING:
            return None
        origin = headers.get("origin")
        # "null" is the origin of a page in a sandbox, so it is foreign as well.
        foreign = origin is not None and origin.partition("://")[2] != host
        if foreign or headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return "a page of another site may not do this"
        return None


def _name_in(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
