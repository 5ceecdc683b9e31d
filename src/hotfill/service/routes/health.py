"""For whoever supervises the process: no token is needed, and nothing is told."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from hotfill.service.access import may_read
from hotfill.service.models import Health
from hotfill.service.routes.parts import Served, problems

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> Health:
    """Tell that the process lives."""
    return Health(status="ok")


@router.get("/ready", responses={503: problems(503)[503]})
def ready(service: Served) -> Health:
    """Tell that searches and writes are answered: the store and the journal can be read."""
    service.gallery.get([])
    _ = service.journal.phase
    return Health(status="ok")


@router.get(
    "/metrics",
    dependencies=[Depends(may_read)],
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems(),
    },
)
def metrics(service: Served) -> Response:
    """Measurements in the text format of Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
