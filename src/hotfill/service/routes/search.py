"""Searching."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends

from hotfill.errors import InputError
from hotfill.service.access import may_read
from hotfill.service.models import Bounds, Found, HitOut, ModelOut, Models, Query, Why
from hotfill.service.routes.parts import Served, problems

if TYPE_CHECKING:
    from hotfill.service.gallery_service import GalleryService
    from hotfill.serving.results import SearchResult
    from hotfill.stores.base import Where

router = APIRouter(tags=["search"], dependencies=[Depends(may_read)])


@router.post(
    "/search",
    response_model_exclude_none=True,
    responses=problems(400, 409, 413, 422, 502, 503),
)
def search(query: Query, service: Served) -> Found:
    """Find the k best items, on whichever sides the phase of the upgrade has.

    Meanwhile the upgrade may begin, move items or cut over: a search is answered by one model and
    one view of the sides, whole.
    """
    if query.k > service.settings.max_k:
        raise InputError(f"k is at most {service.settings.max_k} here, got {query.k}")
    where = _where(query)
    if query.vectors is not None:
        found = service.search_vectors(query.vectors, query.k, where)
    else:
        found = service.search(query.content, query.k, where)
    return _answer(found, service, query.explain)


@router.get("/models", responses=problems())
async def models(service: Served) -> Models:
    """Tell the models of the gallery, and which of them embeds queries now."""
    view = service.serving.view
    return Models(
        old=ModelOut.of(service.plan.old_model),
        new=ModelOut.of(service.plan.new_model),
        query=ModelOut.of(view.query_model),
        phase=view.phase,
    )


def _where(query: Query) -> Where | None:
    where: Where = {
        key: value.range() if isinstance(value, Bounds) else value
        for key, value in query.where.items()
    }
    return where or None


def _answer(found: SearchResult, service: GalleryService, explain: bool) -> Found:
    new = service.plan.new_model
    return Found(
        hits=[
            HitOut(
                item_id=hit.item_id,
                score=hit.score,
                why=Why(
                    side="new" if hit.model == new else "old",
                    model=hit.model.fingerprint,
                    raw_score=hit.raw_score,
                )
                if explain
                else None,
            )
            for hit in found.hits
        ],
        phase=found.phase,
        query_model=found.query_model.fingerprint,
        coverage=service.watch.latest.coverage if explain else None,
    )
