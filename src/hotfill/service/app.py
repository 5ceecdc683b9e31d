"""The application: routes, and around them what keeps it safe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.middleware import Middleware

from hotfill._version import __version__
from hotfill.service import openapi, problems
from hotfill.service.access import Door
from hotfill.service.middleware import AccessLog, BodyLimit, BrowserSafety
from hotfill.service.routes import dashboard, health, items, search, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.service.gallery_service import GalleryService

_STATIC = Path(__file__).parent / "web" / "static"


def create_app(service: GalleryService, is_stopping: Callable[[], bool] = lambda: False) -> FastAPI:
    """Make the ASGI application for an open gallery.

    is_stopping: whether the server is going down; the streams of dashboards end then, and it says
    that it is not ready.
    """
    app = FastAPI(
        title="hotfill",
        version=__version__,
        # FastAPI's own pages for the API load scripts from elsewhere; the description itself stays.
        docs_url=None,
        redoc_url=None,
        middleware=[
            Middleware(AccessLog, requested=service.metrics.requested),
            Middleware(BrowserSafety, local_only=not service.settings.tokens),
            Middleware(BodyLimit, most_bytes=service.settings.max_request_bytes),
        ],
    )
    app.state.service = service
    app.state.door = Door(service.settings)
    app.state.confirmation = upgrade.Confirmation()
    app.state.is_stopping = is_stopping
    for subject in (search, items, upgrade, health, dashboard):
        app.include_router(subject.router)
    app.include_router(dashboard.panel)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    problems.install(app)
    app.openapi = lambda: openapi.description(app)  # type: ignore[method-assign]
    return app
