"""The application: routes, and around them what keeps it safe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
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

    from hotfill.service.gallery_service import GalleryService

_STATIC = Path(__file__).parent / "web" / "static"


def create_app(service: GalleryService, is_stopping: Callable[[], bool] = lambda: False) -> FastAPI:
    """Make the application for an open gallery.

    is_stopping: whether the server is going down; the streams of dashboards end then.
    """
    # FastAPI's own pages for the API load scripts from elsewhere; the description itself stays.
    app = FastAPI(title="hotfill", version=__version__, docs_url=None, redoc_url=None)
    app.state.service = service
    app.state.door = Door(service.settings)
    app.state.is_stopping = is_stopping
    app.router.routes.append(search.route)
    for subject in (search, items, upgrade, health, dashboard):
        app.include_router(subject.router)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    problems.install(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, most_bytes=service.settings.max_request_bytes)
    app.add_middleware(BrowserSafety, local_only=not service.settings.tokens)
    app.add_middleware(AccessLog, requested=service.metrics.requested)
    app.openapi = lambda: _description(app)  # type: ignore[method-assign]
    return app


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
