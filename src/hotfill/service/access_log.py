"""One line of JSON for each request: who, what, how long. Never what was searched or written.

Paths are logged as routes (`/items/{item_id}`), so that no id and no text ends up in a log. Lines
are written a few at a time: a call of `logging` for each would cost as much as the rest of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from hotfill.service.problems import problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_access = logging.getLogger("hotfill.service.access")
_errors = logging.getLogger("hotfill.service")

_WRITE_SECONDS = 0.1  # how long a line may wait for others


class AccessLog:
    """Middleware, the outermost: logs, and answers what nobody foresaw.

    requested: told the route and the status of each request.
    """

    def __init__(self, app: ASGIApp, requested: Callable[[str, int], None]) -> None:
        self._app = app
        self._requested = requested
        self._lines: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            self._write()  # of "lifespan": the server is going down
            return
        status = 0
        began = time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            # Where it happened, but not its message: that may quote what was searched or written.
            frames = "".join(traceback.format_tb(error.__traceback__))
            _errors.error("unexpected %s\n%s", type(error).__name__, frames)
            if status == 0:
                detail = "an unexpected error; the log of the service has the details"
                await problem(500, {"kind": "unexpected", "detail": detail})(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path_format", "none")
            self._requested(route, status)
            if _access.isEnabledFor(logging.INFO):
                self._note(_line(scope, route, status, time.perf_counter() - began))

    def _note(self, line: dict[str, Any]) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_later(_WRITE_SECONDS, self._write)
        self._lines.append(to_json(line).decode())

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            _access.info("\n".join(lines))


def _line(scope: Scope, route: str, status: int, seconds: float) -> dict[str, Any]:
    return {
        "at": round(time.time(), 3),
        "method": scope["method"],
        "route": route,
        "status": status,
        "milliseconds": round(1000 * seconds, 2),
        "caller": scope.get("state", {}).get("caller", "nobody"),
    }
