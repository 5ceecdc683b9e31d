"""For whoever supervises the process: liveness and readiness need no token; measurements do."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from hotfill.service.access import may_read
from hotfill.service.models import Health
from hotfill.service.openapi import OPEN_TO_ALL, problems
from hotfill.service.routes import Served

router = APIRouter(tags=["health"])


@router.get("/health", openapi_extra=OPEN_TO_ALL)
async def health() -> Health:
    """Tell that the process lives. Restart it where this is not answered."""
    return Health(status="ok")


@router.get("/ready", openapi_extra=OPEN_TO_ALL, responses={503: problems(503)[503]})
def ready(request: Request, service: Served) -> Health:
    """Tell whether to send searches and writes here: the store and the journal can be read.

    503 where they cannot, and from the moment that the service was told to stop.
    """
    if request.app.state.is_stopping():
        raise HTTPException(503, "the service is stopping")
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
