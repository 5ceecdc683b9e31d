"""The operator's routes: where the upgrade is, and its steps.

Steps that take long run in a thread; the answer comes at once, with the status. `GET /upgrade`
tells in `run` how the step went.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from hotfill.errors import InputError
from hotfill.service.access import Principal, may_operate, may_read
from hotfill.service.models import CompleteIn, Question, ResumeIn, StartIn, UpgradeStatus
from hotfill.service.openapi import problems
from hotfill.service.problems import problem
from hotfill.service.routes import Served, StrictJson
from hotfill.service.tokens import hash_of
from hotfill.upgrade import control
from hotfill.upgrade.phases import Step, advance

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.service.snapshot import UpgradeSnapshot

router = APIRouter(prefix="/upgrade", tags=["upgrade"], route_class=StrictJson)


CONFIRM_SECONDS = 120.0


class Confirmation:
    """What cannot be undone is asked for twice: the first call gives a token for the second.

    Holds at most one open question; a new one replaces it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._token: str | None = None
        self._by = ""
        self._until = 0.0

    def ask(self, by: str) -> str:
        """Open the question; returns the token that answers it. by: who must answer."""
        self._token = secrets.token_urlsafe(16)
        self._by = by
        self._until = self._clock() + CONFIRM_SECONDS
        return self._token

    def answer(self, token: str, by: str) -> None:
        """Close the question. Raises InputError unless it is the right token, in time, once."""
        with self._lock:  # of two calls at once, one finds it used
            expected, self._token = self._token, None
        given = secrets.compare_digest(hash_of(token), hash_of(expected or ""))
        if expected is None or not given or by != self._by or self._clock() >= self._until:
            raise InputError(
                "that confirmation is unknown, used or out of date; nothing was changed: ask "
                "again without one, then confirm with the token you get"
            )


async def _confirmation(request: Request) -> Confirmation:
    confirmation: Confirmation = request.app.state.confirmation
    return confirmation


Asked = Annotated[Confirmation, Depends(_confirmation)]
Operator = Annotated[Principal, Depends(may_operate)]
_PROBLEMS = problems(400, 409, 413, 422)
_STATUS: dict[str, Any] = {"response_model": UpgradeStatus, "responses": _PROBLEMS}


@router.get(
    "", dependencies=[Depends(may_read)], response_model=UpgradeStatus, responses=problems()
)
def status(service: Served) -> dict[str, Any]:
    """Tell where the upgrade is, why it does not move, and what is possible now."""
    return _out(service.watch.refresh())


@router.get("/rehearsal", dependencies=[Depends(may_read)], responses=problems(404))
def rehearsal(service: Served) -> dict[str, Any]:
    """Tell what the rehearsal found, as `hotfill rehearse --json` wrote it."""
    if service.rehearsed is None:
        raise HTTPException(404, "no rehearsal is named under [service] in the configuration")
    return service.rehearsed.whole


@router.post("/start", status_code=202, **_STATUS)
def start(service: Served, caller: Operator, options: StartIn | None = None) -> dict[str, Any]:
    """Prepare and backfill, from wherever the upgrade is; also after a stop or a crash.

    With `more`, after `complete`: embed items that stayed imputed.
    """
    given = options or StartIn()
    service.steps.begin(
        "start", caller.name, retry_dead_letters=given.retry_dead_letters, more=given.more
    )
    return _out(service.watch.refresh())


@router.post("/pause", **_STATUS)
def pause(service: Served, caller: Operator) -> dict[str, Any]:
    """Let the work rest after the batches in hand. Searches and writes go on."""
    control.pause(service.journal, caller.name)
    return _out(service.watch.refresh())


@router.post("/resume", **_STATUS)
def resume(service: Served, caller: Operator, options: ResumeIn | None = None) -> dict[str, Any]:
    """End all pauses; where the gate is accepted, its holds too."""
    control.resume(service.journal)
    if options is not None and options.accept_gate:
        control.accept_gate(service.journal, caller.name)
    return _out(service.watch.refresh())


@router.post("/verify", status_code=202, **_STATUS)
def verify(service: Served, caller: Operator) -> dict[str, Any]:
    """Check every id and stamp, and embed a sample again. `run.result` has what was found."""
    service.steps.begin("verify", caller.name)
    return _out(service.watch.refresh())


@router.post("/cutover", **_STATUS)
def cutover(service: Served, caller: Operator) -> dict[str, Any] | Response:
    """Read the new side only, from now on. It happens completely or not at all.

    Answers when it is done. Needs a fresh verification.
    """
    service.steps.begin("cutover", caller.name)
    run = service.steps.wait()
    if run is not None and run.error is not None:
        return problem(run.error["status"], run.error)
    return _out(service.watch.refresh())


@router.post("/rollback", status_code=202, **_STATUS)
def rollback(service: Served, caller: Operator) -> dict[str, Any]:
    """Go back to the old model after the cutover. Items written since keep their content."""
    service.steps.begin("rollback", caller.name)
    return _out(service.watch.refresh())


@router.post("/abort", status_code=202, **_STATUS)
def abort(service: Served, caller: Operator) -> dict[str, Any]:
    """Go back to the old model before the cutover."""
    service.steps.begin("abort", caller.name)
    return _out(service.watch.refresh())


@router.post(
    "/complete",
    status_code=202,
    responses={200: {"model": Question, "description": "confirm first"}, **_PROBLEMS},
    response_model=UpgradeStatus,
)
def complete(
    service: Served, caller: Operator, confirmation: Asked, answer: CompleteIn | None = None
) -> dict[str, Any] | Response:
    """Remove the old vectors. There is no way back afterwards, so it takes two calls.

    Called without a token it changes nothing and answers with one; called with that token, by the
    same caller within two minutes, it does it.
    """
    advance(service.journal.phase, Step.COMPLETE)
    if answer is None or answer.confirmation_token is None:
        question = Question(
            question=f"Remove the vectors of {service.plan.old_model}? Programs of your own that "
            "search the store by themselves need the new model from then on. There is no way back.",
            confirmation_token=confirmation.ask(caller.name),
            expires_in_seconds=CONFIRM_SECONDS,
        )
        return JSONResponse(question.model_dump())
    confirmation.answer(answer.confirmation_token, caller.name)
    service.steps.begin("complete", caller.name)
    return _out(service.watch.refresh())


def _out(seen: UpgradeSnapshot) -> dict[str, Any]:
    return {**asdict(seen.status), "share": seen.status.share, "run": seen.run}
