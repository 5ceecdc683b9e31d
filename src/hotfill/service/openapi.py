"""The description of the API at /openapi.json, as far as FastAPI does not write it by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from hotfill.service.access import COOKIE
from hotfill.service.examples import EXAMPLES, Example
from hotfill.service.models import Problem, Query

if TYPE_CHECKING:
    from fastapi import FastAPI

_MEANINGS = {
    400: "the body cannot be read",
    401: "a token is needed",
    403: "the token may not do that",
    404: "there is no such thing",
    409: "not possible now",
    413: "the body is too large",
    422: "what was sent cannot be used",
    502: "the embedder or the source failed",
    503: "the store cannot be used",
    507: "there is no room left",
}

JSON_QUERY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Query"}}},
    }
}
"""What the route of searches reads by itself."""

OPEN_TO_ALL: dict[str, Any] = {"security": []}
"""For routes that need no token."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that a route may answer with, beyond those of every route."""
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            },
        }
        for status in sorted({401, 403, *statuses})
    }


def _put_in(operation: dict[str, Any], example: Example) -> None:
    if example.body is not None:
        operation["requestBody"]["content"]["application/json"]["example"] = example.body
    done = next(answer for status, answer in operation["responses"].items() if status < "300")
    for media in done["content"].values():
        media["example"] = example.answer


def description(app: FastAPI) -> dict[str, Any]:
    """Describe the API: with problems instead of FastAPI's own validation errors, and tokens."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, routes=app.routes)
        components = found["components"]
        schemas = components["schemas"]
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        for model in (Problem, Query):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        components["securitySchemes"] = {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token of [service.tokens].",
            },
            "session": {
                "type": "apiKey",
                "in": "cookie",
                "name": COOKIE,
                "description": "Of the dashboard's log-in.",
            },
        }
        found["security"] = [{"token": []}, {"session": []}]
        for (method, path), example in EXAMPLES.items():
            _put_in(found["paths"][path][method.lower()], example)
        app.openapi_schema = found
    return app.openapi_schema
