"""What every route uses."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Request

from hotfill.service.gallery_service import GalleryService
from hotfill.service.models import Problem, Query


async def _service(request: Request) -> GalleryService:
    service: GalleryService = request.app.state.service
    return service


Served: TypeAlias = Annotated[GalleryService, Depends(_service)]

_SAID = {
    400: "the body cannot be read",
    401: "a token is needed",
    403: "the token may not do that",
    404: "there is no such thing",
    409: "not possible now",
    413: "the body is too large",
    422: "it cannot be used as it is",
    429: "too many calls",
    502: "the embedder or the source failed",
    503: "the store cannot be used",
    507: "there is no room left",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that a route may answer with, in addition to those of every route."""
    return {
        status: {
            "description": _SAID[status],
            "content": {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            },
        }
        for status in sorted({401, 403, 429, *statuses})
    }


def schemas() -> dict[str, Any]:
    """Describe what no route names as its argument: problems, and the question of a search."""
    found = {}
    for model in (Problem, Query):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        found.update(schema.pop("$defs", {}))
        found[model.__name__] = schema
    return found
