"""The routes, one file per subject, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.exceptions import HTTPException

from hotfill.service.gallery_service import GalleryService


async def _service(request: Request) -> GalleryService:
    service: GalleryService = request.app.state.service
    return service


Served: TypeAlias = Annotated[GalleryService, Depends(_service)]
"""The open gallery, as a route's argument."""


class StrictJson(APIRoute):
    """A route that reads JSON as RFC 8259 has it.

    Python's own parser lets NaN pass, and halves of surrogate pairs, which no store can write.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what handles a request."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict


class _StrictRequest(Request):
    async def json(self) -> Any:
        try:
            return from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise HTTPException(422, f"the body is not JSON: {error}") from error
