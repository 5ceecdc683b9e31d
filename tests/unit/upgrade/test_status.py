"""One snapshot from the journal alone: no figure is shown before it means something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from hotfill.errors import StoreFullError
from hotfill.stores.records import Building
from hotfill.upgrade import control
from hotfill.upgrade.journal.sqlite import SqliteJournal
from hotfill.upgrade.pace import Progress
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.plan import Plan
from hotfill.upgrade.status import Heartbeat, take_status
from tests.unit.upgrade.small import NEW, OLD, upgrade

PLAN = Plan(OLD, NEW, items=77)


@pytest.fixture
def journal(tmp_path):
    made = SqliteJournal(tmp_path / "journal.sqlite")
    yield made
    made.close()


def backfill(journal, *, items, done, rate=10.0, pid=None):
    """Write what a running process would have written."""
    journal.record("started")
    journal.enter(Phase.BACKFILLING)
    journal.add_work("embed", [([f"{i:06}" for i in range(items)], [0.0] * items)], 1)
    for _ in range(done):
        journal.finish(journal.lease("embed", "x", 9.0), moved=1, skipped=0)
    journal.beat(
        pid=os.getpid() if pid is None else pid,
        embedded=done,
        written=done,
        visible=done,
        rate_per_second=rate,
        working_seconds=1.0,
    )


def test_a_fresh_upgrade_has_nothing_but_its_plan(journal):
    status = take_status(journal, PLAN)
    assert (status.phase, status.items, status.moved, status.share) == (Phase.PLANNED, 77, 0, 0.0)
    assert (status.elapsed_seconds, status.eta_seconds, status.running) == (0.0, None, False)
    assert status.next_steps == ("start",)


@pytest.mark.parametrize(("done", "shown"), [(0, False), (1, False), (2, True), (150, True)])
def test_no_time_left_is_told_before_one_percent_is_done(journal, done, shown):
    backfill(journal, items=200, done=done, rate=10.0)
    status = take_status(journal, PLAN)
    assert status.share == done / 200
    if shown:
        assert status.eta_seconds == pytest.approx((200 - done) / 10.0)
    else:
        assert status.eta_seconds is None


def test_no_time_left_is_told_while_held_or_at_rest_or_outside_the_backfill(journal):
    backfill(journal, items=10, done=5)
    assert take_status(journal, PLAN).eta_seconds == pytest.approx(0.5)
    control.pause(journal, by="anna")
    assert take_status(journal, PLAN).eta_seconds is None
    control.resume(journal)
    journal.beat(pid=os.getpid(), rate_per_second=0.0)
    assert take_status(journal, PLAN).eta_seconds is None
    journal.beat(pid=os.getpid(), rate_per_second=10.0)
    journal.enter(Phase.BACKFILLED)
    assert take_status(journal, PLAN).eta_seconds is None


@pytest.mark.parametrize("backfill_of", ["all", "none"])
def test_rho_is_doubted_as_long_as_items_wait_to_be_embedded(journal, backfill_of):
    plan = replace(PLAN, strategy="prefill", backfill=backfill_of)
    journal.record("fit", rho=0.6, rho_by_items=False)
    for phase in (Phase.PREPARED, Phase.BACKFILLING):
        journal.enter(phase)
        assert "rho 0.60" in take_status(journal, plan).warnings[0]
    for phase in (Phase.BACKFILLED, Phase.CUT_OVER, Phase.COMPLETED):
        journal.enter(phase)
        assert bool(take_status(journal, plan).warnings) is (backfill_of == "none")


def test_a_dead_process_is_not_running_and_has_no_rate(journal):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    backfill(journal, items=10, done=5, pid=child.pid)
    status = take_status(journal, PLAN)
    assert (status.running, status.pid, status.rate_per_second) == (False, None, 0.0)
    assert (status.moved, status.visible, status.eta_seconds) == (5, 5, None)


@pytest.mark.parametrize(
    ("host", "silent_seconds", "running"),
    [(None, 9, True), (None, 60, True), (None, 200, False), ("far", 9, True), ("far", 60, False)],
)
def test_a_process_that_fell_silent_runs_as_long_as_it_may_be_busy(
    journal, monkeypatch, host, silent_seconds, running
):
    """On this machine it is seen to live; one long call of a library may keep it from beating."""
    backfill(journal, items=10, done=5)
    if host is not None:
        journal.beat(pid=os.getpid(), host=host)
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + silent_seconds)
    assert take_status(journal, PLAN).running == running


def test_the_clock_stops_when_the_backfill_ends_and_runs_again_when_more_is_found(
    journal, monkeypatch
):
    clock = [1000.0]
    monkeypatch.setattr("time.time", lambda: clock[0])
    journal.record("started")
    clock[0] += 5
    journal.enter(Phase.BACKFILLING)
    clock[0] += 5
    assert take_status(journal, PLAN).elapsed_seconds == 10.0
    journal.enter(Phase.BACKFILLED)
    journal.record("backfilled")
    clock[0] += 100
    assert take_status(journal, PLAN).elapsed_seconds == 10.0
    journal.enter(Phase.BACKFILLING)
    assert take_status(journal, PLAN).elapsed_seconds == 110.0


@pytest.mark.parametrize("way", [(Phase.ABORTING, Phase.ABORTED), (Phase.SUPERSEDED,)])
def test_the_time_of_an_upgrade_that_nobody_works_on_any_more_stands_still(
    journal, monkeypatch, way
):
    clock = [1000.0]
    monkeypatch.setattr("time.time", lambda: clock[0])
    journal.record("started")
    journal.enter(Phase.BACKFILLING)
    clock[0] = 1010.0
    assert take_status(journal, PLAN).elapsed_seconds == 10.0
    for phase in way:
        journal.enter(phase)
    clock[0] = 5000.0
    assert take_status(journal, PLAN).elapsed_seconds == 10.0


def test_a_pause_is_ended_before_anything_else(journal):
    journal.enter(Phase.BACKFILLING)
    control.pause(journal, by="anna")
    assert take_status(journal, PLAN).next_steps == ("resume", "abort")


def test_a_status_is_plain_values(journal):
    backfill(journal, items=10, done=5)
    control.pause(journal, by="anna")
    values = json.loads(json.dumps(take_status(journal, PLAN).to_dict()))
    assert values["phase"] == "backfilling"
    assert values["share"] == 0.5
    assert values["holds"][0]["about"] == "anna"
    assert values["next_steps"] == ["resume", "abort"]


def test_looking_writes_nothing(journal, tmp_path):
    backfill(journal, items=10, done=5)
    before = list(journal.facts())
    other = SqliteJournal(tmp_path / "journal.sqlite")
    other._file.read("PRAGMA query_only = 1", ())
    take_status(other, PLAN)
    other.close()
    assert list(journal.facts()) == before


# The sign of life -------------------------------------------------------------------------------


class Counting:
    """A gallery of which only the count is asked."""

    building = None

    def count(self, space, origin=None):
        return 5


def test_the_rate_is_what_was_written_over_the_last_half_minute(journal, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    progress = Progress()
    heart = Heartbeat(journal, PLAN, Counting(), progress, lambda status: None)
    rates = []
    for seconds, written in [(0, 0), (10, 100), (20, 400), (50, 400), (100, 400), (101, 410)]:
        clock[0], progress.written = float(seconds), written
        heart._beat()
        rates.append(journal.last_beat()["rate_per_second"])
    assert rates == [0.0, 10.0, 20.0, 0.0, 0.0, 10.0]


@pytest.mark.parametrize("fails", [False, True])
def test_afterwards_nobody_is_at_work_whether_it_went_well_or_not(journal, fails):
    seen = []
    try:
        with Heartbeat(journal, PLAN, Counting(), Progress(), seen.append):
            assert take_status(journal, PLAN).running
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert seen[0].running
    assert seen[0].visible == 5
    assert not take_status(journal, PLAN).running


def test_an_index_that_is_built_is_told_by_the_process_at_work_only(journal):
    gallery, seen = Counting(), []
    gallery.building = Building(12_000, 50_000, 24.0)
    with Heartbeat(journal, PLAN, gallery, Progress(), seen.append):
        assert take_status(journal, PLAN).building == gallery.building
    assert str(seen[0].building) == "12,000/50,000, 500/s, eta 1 min 16 s"
    assert seen[0].to_dict()["building"] == {"done": 12_000, "total": 50_000, "seconds": 24.0}
    assert take_status(journal, PLAN).building is None


def test_a_part_of_a_long_step_is_told_with_how_far_it_is_while_it_is_done(journal, monkeypatch):
    clock, progress = [100.0], Progress()
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    heart = Heartbeat(journal, PLAN, Counting(), progress, lambda status: None)

    def told():
        clock[0] += 8.0
        heart._beat()
        return str(take_status(journal, PLAN).part)

    with progress.counting("embedding a sample", 2000) as count:
        count(800)
        assert told() == "embedding a sample 800/2,000, 100/s, eta 12 s"
        with progress.counting("fitting the map"):
            assert told() == "fitting the map for 8.0 s"
        assert take_status(journal, PLAN).to_dict()["part"]["what"] == "fitting the map"
        assert told() == "embedding a sample 800/2,000, 33/s, eta 36 s"
    assert told() == "None"


def noted(monkeypatch):
    """What each part of what runs from now on had counted in the end: of how many."""
    parts, counting = {}, Progress.counting

    @contextmanager
    def noting(progress, what, total=0):
        with counting(progress, what, total) as told:
            yield told
            parts[what] = (progress.part.done, progress.part.total)

    monkeypatch.setattr(Progress, "counting", noting)
    return parts


def test_whatever_runs_over_many_items_counts_them_to_the_end(tmp_path, monkeypatch):
    parts = noted(monkeypatch)
    up = upgrade(tmp_path, n=150, fit_items=110, canary_items=10, batch_size=16, fitting=None)
    up.start()
    assert parts == {
        "counting the items": (0, 0),
        "drawing a sample": (150, 150),
        "embedding a sample": (110, 110),
        "fitting the map between the models": (0, 0),
        "drawing the canaries": (150, 150),
        "embedding the canaries": (10, 10),
        "searching by the canaries": (0, 0),
        "drawing items to watch": (150, 150),
        "making room in the store": (0, 0),
        "listing the work": (150, 150),
        "imputing": (150, 150),
    }
    parts.clear()
    up.verify()
    assert parts == {
        "reading the items": (150, 150),
        "looking for missing items": (150, 150),
        "drawing a sample": (150, 150),
        "embedding a sample again": (16, 16),
    }
    up.cutover()
    parts.clear()
    up.rollback()
    assert parts == {"going back": (150, 150)}
    assert up.part is None


def test_a_beat_that_fails_does_not_end_the_beating(journal, monkeypatch):
    monkeypatch.setattr("hotfill.upgrade.status._BEAT_SECONDS", 0.001)
    beats = []

    def show(status):
        beats.append(status)
        if len(beats) == 3:
            raise StoreFullError("no space left")

    with Heartbeat(journal, PLAN, Counting(), Progress(), show):
        deadline = time.monotonic() + 20
        while len(beats) < 6 and time.monotonic() < deadline:
            time.sleep(0.001)
    assert len(beats) >= 6
