"""The application: routes, and around them what keeps it safe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.staticfiles import StaticFiles

from hotfill._version import __version__
from hotfill.service import problems
from hotfill.service.access import Door
from hotfill.service.access_log import AccessLog
from hotfill.service.body_limit import BodyLimit
from hotfill.service.browser_safety import BrowserSafety
from hotfill.service.routes import dashboard, health, items, parts, search, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from hotfill.service.gallery_service import GalleryService

_STATIC = Path(__file__).parent / "web" / "static"


class Application:
    """The ASGI application of an open gallery. api: all of it but the searches."""

    def __init__(self, api: FastAPI, entry: ASGIApp) -> None:
        self.api = api
        self._entry = entry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        await self._entry(scope, receive, send)


def create_app(
    service: GalleryService, is_stopping: Callable[[], bool] = lambda: False
) -> Application:
    """Make the application for an open gallery.

    is_stopping: whether the server is going down; the streams of dashboards end then.
    """
    # FastAPI's own pages for the API load scripts from elsewhere; the description itself stays.
    api = FastAPI(title="hotfill", version=__version__, docs_url=None, redoc_url=None)
    api.state.service = service
    api.state.door = Door(service.settings)
    api.state.is_stopping = is_stopping
    api.router.routes.append(search.route)  # for other methods than POST
    for subject in (search, items, upgrade, health, dashboard):
        api.include_router(subject.router)
    api.mount("/static", StaticFiles(directory=_STATIC), name="static")
    problems.install(api)
    api.openapi = lambda: _description(api)  # type: ignore[method-assign]

    async def parted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/search" and scope["method"] == "POST":
            scope["app"] = api
            answered = await search.answer(Request(scope, receive, send))
            await answered(scope, receive, send)
        else:
            await api(scope, receive, send)

    safe = BodyLimit(parted, most_bytes=service.settings.max_request_bytes)
    guarded = BrowserSafety(safe, local_only=not service.settings.tokens)
    return Application(api, AccessLog(guarded, requested=service.metrics.requested))


def _description(app: FastAPI) -> dict[str, Any]:
    """Describe the API; problems instead of FastAPI's own form of validation errors."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title, version=app.version, routes=[*search.described.routes, *app.routes]
        )
        schemas = found["components"]["schemas"]
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        schemas.update(parts.schemas())
        app.openapi_schema = found
    return app.openapi_schema
