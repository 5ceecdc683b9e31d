"""Searching."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.routing import Route

from hotfill.errors import InputError
from hotfill.service.access import caller_in, let_in, may_read
from hotfill.service.models import Bounds, Found, ModelOut, Models, Query
from hotfill.service.problems import ANSWERED, answer_of
from hotfill.service.routes.parts import Served, problems

if TYPE_CHECKING:
    from hotfill.service.gallery_service import GalleryService
    from hotfill.stores.base import Where
    from hotfill.upgrade.view import SearchResult

router = APIRouter(tags=["search"])
described = APIRouter(tags=["search"])
"""The route below, for the description of the API alone."""


async def answer(request: Request) -> Response:
    """Answer one search; what goes wrong, too."""
    request.scope["route"] = route  # for the access log
    try:
        let_in(caller_in(request), "read")
        service: GalleryService = request.app.state.service
        body = await request.body()
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(service.searchers, _found, service, body)
    except ANSWERED as error:
        return answer_of(error, request.method, route.path)
    return Response(found, media_type="application/json")


route = Route("/search", answer, methods=["POST"])
"""Everybody waits for this one, so `app` leads it past FastAPI: what that does around a route, and
for its arguments and its answer, takes longer than a search (measured: 2 ms to 0.7)."""


@described.post(
    route.path,
    response_model=Found,
    responses=problems(400, 409, 413, 422, 502, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Query"}}},
        },
        "security": [{"HTTPBearer": []}, {"APIKeyCookie": []}],
    },
)
async def search(request: Request) -> Response:
    """Find the k best items, on whichever sides the phase of the upgrade has.

    In between the upgrade may begin, move items or cut over: a search is answered by one model and
    one view of the sides, whole.
    """
    return await answer(request)


def _found(service: GalleryService, body: bytes) -> bytes:
    """From the bytes of the question to those of the answer."""
    try:
        query = Query.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(
            [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        ) from error
    if query.k > service.settings.max_k:
        raise InputError(f"k is at most {service.settings.max_k} here, got {query.k}")
    where = _where(query)
    if query.vectors is not None:
        found = service.search_vectors(query.vectors, query.k, where)
    else:
        found = service.search(query.content, query.k, where)
    return to_json(_said(found, service, query.explain))


@router.get("/models", dependencies=[Depends(may_read)], responses=problems())
async def models(service: Served) -> Models:
    """Tell the models of the gallery, and which of them embeds queries now."""
    view = service.up.view
    return Models(
        old=ModelOut.of(service.plan.old_model),
        new=ModelOut.of(service.plan.new_model),
        query=ModelOut.of(service.up.query_model),
        phase=view.phase,
    )


def _where(query: Query) -> Where | None:
    where: Where = {
        key: value.range() if isinstance(value, Bounds) else value
        for key, value in query.where.items()
    }
    return where or None


def _said(found: SearchResult, service: GalleryService, explain: bool) -> dict[str, Any]:
    """Say what was found, as `Found` describes it."""
    hits: list[dict[str, Any]] = [
        {"item_id": hit.item_id, "score": hit.score} for hit in found.hits
    ]
    said: dict[str, Any] = {
        "hits": hits,
        "phase": str(found.phase),
        "query_model": found.query_model.fingerprint,
    }
    if explain:
        new = service.plan.new_model
        for each, hit in zip(hits, found.hits, strict=True):
            each["why"] = {
                "side": "new" if hit.model == new else "old",
                "model": hit.model.fingerprint,
                "raw_score": hit.raw_score,
            }
        said["coverage"] = service.watch.latest.coverage
    return said
