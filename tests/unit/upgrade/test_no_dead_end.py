"""From every phase, whatever holds it, one of the steps that the status names leads on."""

from __future__ import annotations

import time

import pytest

from hotfill.upgrade import control
from hotfill.upgrade.phases import ENDED, Hold, Phase
from tests.unit.upgrade.small import OLD, Projection, half_done, upgrade

_HOLDS = {
    "none": lambda up: None,
    "paused": lambda up: up.pause("somebody"),
    "postponed": lambda up: up.postpone("somebody"),
    "gate": lambda up: up.journal.hold(
        Hold("gate", "old_overlap", time.time(), measured=0.5, required=0.9)
    ),
    "error": lambda up: up.journal.hold(Hold("error", "StoreError: broken", time.time())),
    "throttled": lambda up: up.journal.hold(
        Hold("throttled", "search_p99_milliseconds", time.time(), measured=9.0, required=1.0)
    ),
}


class _Killed(BaseException):
    pass


def _prepared(up):
    def killed(phase):
        raise _Killed

    up.on_phase = killed
    with pytest.raises(_Killed):
        up.start()
    up.on_phase = lambda phase: None


def _going_back(up):
    half_done(up)
    control.abort(up.journal)


def _cut_over(up):
    up.start()
    up.verify()
    up.cutover()


def _rolling_back(up):
    _cut_over(up)
    up.on_phase = lambda phase: up.stop()
    up.rollback()
    up.on_phase = lambda phase: None


_WAYS = {
    Phase.PLANNED: lambda up: None,
    Phase.PREPARED: _prepared,
    Phase.BACKFILLING: half_done,
    Phase.BACKFILLED: lambda up: up.start(),
    Phase.CUT_OVER: _cut_over,
    Phase.ABORTING: _going_back,
    Phase.ROLLING_BACK: _rolling_back,
}

_STEPS = {
    "resume --accept-gate": lambda up: (up.resume(), up.accept_gate("somebody")),
    "resume": lambda up: up.resume(),
    "unpostpone": lambda up: up.unpostpone(),
    "start": lambda up: up.start(),
    "verify": lambda up: up.verify(),
    "cutover": lambda up: up.cutover(),
    "complete": lambda up: up.complete(),
    "abort": lambda up: up.abort(),
    "rollback": lambda up: up.rollback(),
}


@pytest.mark.parametrize("held", _HOLDS)
@pytest.mark.parametrize("phase", _WAYS, ids=str)
def test_the_first_steps_that_are_named_lead_to_the_end(tmp_path, phase, held):
    up = upgrade(tmp_path, 40, old_embedder=Projection(OLD))
    _WAYS[phase](up)
    assert up.phase is phase
    _HOLDS[held](up)
    for _ in range(8):
        status = up.status()
        if status.phase in ENDED:
            break
        # In the order named; back only where nothing leads forward, and verified once.
        steps = [each for each in status.next_steps if each != "pause"]
        passed = {"abort", "rollback"}
        if up.journal.last("verified") is not None:
            passed.add("verify")
        forward = [each for each in steps if each not in passed]
        _STEPS[(forward or steps)[0]](up)
    else:
        pytest.fail(f"no way on: {up.status()}")
    assert len(up.gallery) == 40
