"""From every phase, whatever holds it, one of the steps that the status names leads on."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress

import pytest

from hotfill import retry as retrying
from hotfill.errors import HeldError
from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade import control
from hotfill.upgrade.phases import ENDED, Hold, Phase
from tests.unit.upgrade.small import OLD, Projection, filled, half_done, upgrade

ITEMS = 40
BAD = "item-00039"

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


def _journal_lost(up):
    up.close()
    shutil.rmtree(up.folder, ignore_errors=True)  # a fresh one has none
    return _again(up)


def _store_restored(up):
    """From a backup of before the upgrade."""
    up.close()
    return _again(up, gallery=filled(up.source, MemoryGallery(OLD)))


def _items_failed(up):
    """One cannot be embedded: it was written by a client that does not know of the upgrade."""
    up.new_embedder.broken.add(float(up.source[BAD][0]))
    up.gallery.upsert([BAD], Projection(OLD)([up.source[BAD]]), space=OLD)
    return up


def _again(up, **changes):
    given = {"gallery": up.gallery, "source": up.source, "old_embedder": Projection(OLD)}
    return upgrade(up.folder, **{**given, **changes})


_FAULTS = {
    "none": lambda up: up,
    "journal lost": _journal_lost,
    "store restored": _store_restored,
    "items failed": _items_failed,
}


def _decide(up):
    up.new_embedder.broken.clear()
    control.retry_dead_letters(up.journal, 8)


_STEPS = {
    "dead-letters": _decide,
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


@pytest.mark.parametrize("fault", _FAULTS)
@pytest.mark.parametrize("held", _HOLDS)
@pytest.mark.parametrize("phase", _WAYS, ids=str)
def test_the_first_steps_that_are_named_lead_to_the_end(tmp_path, monkeypatch, phase, held, fault):
    monkeypatch.setattr(retrying, "RETRY_SECONDS", ())
    up = upgrade(tmp_path / "upgrade", ITEMS, old_embedder=Projection(OLD))
    _WAYS[phase](up)
    assert up.phase is phase
    _HOLDS[held](up)
    up = _FAULTS[fault](up)
    up.state.look()  # as every poll does
    for _ in range(12):
        status = up.status()
        if status.phase in ENDED:
            break
        # In the order named; back only where nothing leads forward, and verified once.
        steps = [each for each in status.next_steps if each != "pause"]
        passed = {"abort", "rollback"}
        if (verified := up.journal.last("verified")) is not None and verified.body["passed"]:
            passed.add("verify")
        forward = [each for each in steps if each not in passed]
        # Where it is held the status names another step from then on, or this does not end.
        with suppress(HeldError):
            _STEPS[(forward or steps)[0]](up)
    else:
        pytest.fail(f"no way on: {up.status()}")
    assert len(up.gallery) == ITEMS
    assert not up.status().holds
    assert len(up.search(up.source[BAD], ITEMS).item_ids) == ITEMS
