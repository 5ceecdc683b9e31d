"""Searching."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError
from pydantic_core import to_json

from hotfill.errors import InputError
from hotfill.service.access import may_read
from hotfill.service.models import Bounds, Models, Query, SearchAnswer
from hotfill.service.openapi import JSON_QUERY, problems
from hotfill.service.routes import Served

if TYPE_CHECKING:
    from hotfill.service.gallery_service import GalleryService
    from hotfill.stores.base import Where
    from hotfill.upgrade.view import SearchResult

router = APIRouter(tags=["search"])


@router.post(
    "/search",
    dependencies=[Depends(may_read)],
    response_model=SearchAnswer,
    responses=problems(400, 409, 413, 422, 502, 503),
    openapi_extra=JSON_QUERY,
)
async def search(request: Request, service: Served) -> Response:
    """Find the k best items, on whichever sides the phase of the upgrade has.

    The upgrade may begin, move items or cut over at the same time: a search is answered by one
    model and one view of the sides, whole.
    """
    # The body is read and the answer written here, because FastAPI's way with arguments and
    # answers costs more than a search: docs/decisions/0005-fastapi.md.
    body = await request.body()
    loop = asyncio.get_running_loop()
    answer = partial(copy_context().run, _answer, service, body)  # it logs and traces as this does
    found = await loop.run_in_executor(service.searchers, answer)
    return Response(found, media_type="application/json")


@router.get("/models", dependencies=[Depends(may_read)], responses=problems())
async def models(service: Served) -> Models:
    """Tell the models of the gallery, and which of them embeds queries now."""
    return Models(
        models=dict(service.models),
        old=service.plan.old_model.fingerprint,
        new=service.plan.new_model.fingerprint,
        query=service.up.query_model.fingerprint,
        phase=service.up.view.phase,
    )


def _answer(service: GalleryService, body: bytes) -> bytes:
    """From the bytes of the query to those of the answer."""
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
        found = service.search(query.what, query.k, where)
    return to_json(_plain(found, service, query.explain))


def _where(query: Query) -> Where | None:
    where: Where = {
        key: value.range() if isinstance(value, Bounds) else value
        for key, value in query.where.items()
    }
    return where or None


def _plain(found: SearchResult, service: GalleryService, explain: bool) -> dict[str, Any]:
    """Return what was found as plain values, as `SearchAnswer` describes it."""
    hits: list[dict[str, Any]] = [
        {"item_id": hit.item_id, "score": hit.score} for hit in found.hits
    ]
    answer: dict[str, Any] = {
        "hits": hits,
        "phase": str(found.phase),
        "query_model": found.query_model.fingerprint,
    }
    if explain:
        made_by = service.up.made_by(found.hits)
        for each, hit, side in zip(hits, found.hits, made_by, strict=True):
            each["why"] = {
                "side": side,
                "model": hit.model.fingerprint,
                "raw_score": hit.raw_score,
            }
        answer["coverage"] = service.watch.latest.coverage
    return answer
