"""The operator's routes: where the upgrade is, and its steps.

Steps that take long run in a thread; the answer comes at once, with the status. `GET /upgrade`
tells in `run` how the step went.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from hotfill.service.access import Caller, may_operate, may_read
from hotfill.service.confirmation import LASTS_SECONDS
from hotfill.service.models import (
    CompleteIn,
    HoldOut,
    Question,
    ResumeIn,
    RunOut,
    StartIn,
    UpgradeOut,
)
from hotfill.service.problems import problem
from hotfill.service.routes.parts import Served, problems
from hotfill.upgrade import control
from hotfill.upgrade.phases import Step, advance

if TYPE_CHECKING:
    from hotfill.service.gallery_service import GalleryService
    from hotfill.service.watch import Snapshot

router = APIRouter(prefix="/upgrade", tags=["upgrade"])

Operator = Annotated[Caller, Depends(may_operate)]
_PROBLEMS = problems(400, 409, 413, 422)


@router.get("", dependencies=[Depends(may_read)], responses=problems())
def status(service: Served) -> UpgradeOut:
    """Tell where the upgrade is, why it does not move, and what is possible now."""
    return _out(service.watch.refresh())


@router.get("/rehearsal", dependencies=[Depends(may_read)], responses=problems(404))
def rehearsal(service: Served) -> dict[str, Any]:
    """Tell what the rehearsal found, as `hotfill rehearse --json` wrote it."""
    if service.rehearsed is None:
        raise HTTPException(404, "no rehearsal is named under [service] in the configuration")
    return service.rehearsed.whole


@router.post("/start", status_code=202, responses=_PROBLEMS)
def start(service: Served, caller: Operator, options: StartIn | None = None) -> UpgradeOut:
    """Prepare and backfill, from wherever the upgrade is; also after a stop or a crash."""
    retry = options.retry_dead_letters if options else False
    service.steps.begin("start", caller.name, retry_dead_letters=retry)
    return _out(service.watch.refresh())


@router.post("/pause", responses=_PROBLEMS)
def pause(service: Served, caller: Operator) -> UpgradeOut:
    """Let the work rest after the batches in hand. Searches and writes go on."""
    control.pause(service.journal, caller.name)
    return _out(service.watch.refresh())


@router.post("/resume", responses=_PROBLEMS)
def resume(service: Served, caller: Operator, options: ResumeIn | None = None) -> UpgradeOut:
    """End all pauses; where the gate is accepted, its holds too."""
    control.resume(service.journal)
    if options is not None and options.accept_gate:
        control.accept_gate(service.journal, caller.name)
    return _out(service.watch.refresh())


@router.post("/verify", status_code=202, responses=_PROBLEMS)
def verify(service: Served, caller: Operator) -> UpgradeOut:
    """Check every id and stamp, and embed a sample again. `run.result` has what was found."""
    service.steps.begin("verify", caller.name)
    return _out(service.watch.refresh())


@router.post("/cutover", responses=_PROBLEMS, response_model=UpgradeOut)
def cutover(service: Served, caller: Operator) -> UpgradeOut | Response:
    """Read the new side only, from now on. It happens completely or not at all.

    Answers when it is done. Needs a fresh verification.
    """
    service.steps.begin("cutover", caller.name)
    run = service.steps.wait()
    if run is not None and run.error is not None:
        return problem(run.error["status"], run.error)
    return _out(service.watch.refresh())


@router.post("/rollback", status_code=202, responses=_PROBLEMS)
def rollback(service: Served, caller: Operator) -> UpgradeOut:
    """Go back to the old model after the cutover. Items written since keep their content."""
    service.steps.begin("rollback", caller.name)
    return _out(service.watch.refresh())


@router.post("/abort", status_code=202, responses=_PROBLEMS)
def abort(service: Served, caller: Operator) -> UpgradeOut:
    """Go back to the old model before the cutover."""
    service.steps.begin("abort", caller.name)
    return _out(service.watch.refresh())


@router.post(
    "/complete",
    status_code=202,
    responses={200: {"model": Question, "description": "confirm first"}, **_PROBLEMS},
    response_model=UpgradeOut,
)
def complete(
    service: Served, caller: Operator, answer: CompleteIn | None = None
) -> UpgradeOut | Response:
    """Remove the old vectors. There is no way back afterwards, so it takes two calls.

    Called without a token it changes nothing and answers with one; called with that token, by the
    same caller within two minutes, it does it.
    """
    advance(service.journal.phase, Step.COMPLETE)
    if answer is None or answer.confirmation_token is None:
        return JSONResponse(_question(service, caller).model_dump())
    service.confirmation.answer(answer.confirmation_token, caller.name)
    service.steps.begin("complete", caller.name)
    return _out(service.watch.refresh())


def _question(service: GalleryService, caller: Caller) -> Question:
    return Question(
        question=f"Remove the vectors of {service.plan.old_model}? There is no way back.",
        confirmation_token=service.confirmation.ask(caller.name),
        expires_in_seconds=LASTS_SECONDS,
    )


def _out(seen: Snapshot) -> UpgradeOut:
    run = seen.run
    return UpgradeOut(
        **{
            **seen.status.to_dict(),
            "holds": [HoldOut(**hold.to_dict()) for hold in seen.status.holds],
            "run": RunOut(**asdict(run), running=run.running) if run else None,
        }
    )
