"""Measured at a bounded pace; held when the gate is not met; going on is never silent."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from hotfill.errors import HeldError, PlanError
from hotfill.ranking import Fit, fit_models
from hotfill.upgrade import control, pace
from hotfill.upgrade import guard as watch
from hotfill.upgrade.canaries import kept_canaries
from hotfill.upgrade.guard import Guard, Quality, accepted_metrics, gate_in_force, quality_curve
from hotfill.upgrade.pairs import Fitting
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.plan import violations
from tests.unit.upgrade.small import NEW, OLD, assert_reembedded, upgrade

REAL = Fitting(fit=lambda old, new: fit_models(old, new, OLD, NEW), load=Fit.load)
ITEMS = 300


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(pace, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(watch, "_LEAST_REST", 0)  # these galleries are done in no time


def guarded(folder, **changes):
    values = {"canary_items": 16, "canary_k": 5, "batch_size": 4, "fit_items": 120}
    return upgrade(folder, n=ITEMS, **{**values, "fitting": REAL, **changes})


def start_until_held(up):
    """Start in a thread of its own; return when the gate holds it. The thread waits then."""
    runner = threading.Thread(target=up.start)
    runner.start()
    while not any(hold.kind == "gate" for hold in up.journal.holds()):
        assert runner.is_alive()
    return runner


def test_every_two_hundredths_of_the_items_are_measured_and_the_first_before_any_moves(tmp_path):
    up = guarded(tmp_path)
    assert up.start().phase is Phase.BACKFILLED
    curve = quality_curve(up.journal)
    assert curve[0]["coverage"] == 0.0
    coverages = [point["coverage"] for point in curve]
    assert coverages == sorted(coverages)
    # A batch is 4 of 300 items and a step 6, so every other batch is measured after.
    assert len(curve) == 1 + ITEMS // 8
    assert all(point["canaries"] == 16 for point in curve)
    assert curve[-1]["agreement"] is not None
    assert up.status().quality == {k: v for k, v in curve[-1].items() if k != "at"}
    assert_reembedded(up.gallery, up.source)


def test_while_it_measures_the_process_says_so(tmp_path, monkeypatch):
    up = guarded(tmp_path)
    said = []

    def measured(*parts):
        said.append(up._state().progress.doing)
        return watch_measure(*parts)

    watch_measure = watch.measure
    monkeypatch.setattr(watch, "measure", measured)
    up.start()
    assert len(said) > 1
    assert set(said) == {"measuring"}
    assert not up._state().progress.doing


def test_without_canaries_nothing_is_measured(tmp_path):
    up = guarded(tmp_path, canary_items=0)
    up.start()
    assert quality_curve(up.journal) == []
    assert up.status().quality is None


@pytest.fixture
def slowly(tmp_path, monkeypatch):
    """A guard whose every measurement takes 20 s of a clock that stands still otherwise."""
    now = [time.time()]

    class Clock:
        monotonic = staticmethod(lambda: now[0])
        time = staticmethod(lambda: now[0])

    up = guarded(tmp_path, guard_seconds=60.0)
    up.start()
    up.journal.add_work("embed", [(["one more"], [0.0])], 1)  # else each batch would be the last
    measure = watch.measure

    def slow(*args):
        now[0] += 20.0
        return measure(*args)

    monkeypatch.setattr(watch, "_LEAST_REST", 9)
    monkeypatch.setattr(watch, "time", Clock)
    monkeypatch.setattr(watch, "measure", slow)

    def measured(action, seconds=0.0):
        now[0] += seconds
        before = len(quality_curve(up.journal))
        action()
        return len(quality_curve(up.journal)) - before

    def guard():
        canaries = kept_canaries(up.folder, up.journal)
        return Guard(up.gallery, up.journal, up.plan_in_force, canaries, up.state.load_fit)

    return up, guard, measured


def test_neither_the_clock_nor_progress_brings_more_than_a_tenth_of_measuring(slowly):
    up, guard, measured = slowly
    guarding = guard()
    guarding._measure()
    for items in (0, len(up.gallery)):  # 9 x 20 s of rest, whatever is done
        assert measured(lambda items=items: guarding.after_batch(items), 100.0) == 0
        assert measured(lambda items=items: guarding.after_batch(items), 79.0) == 0
        assert measured(lambda items=items: guarding.after_batch(items), 2.0) == 1


def test_with_a_gate_the_end_is_measured_without_a_rest(slowly):
    up, guard, measured = slowly
    guarding = guard()
    guarding.plan = replace(guarding.plan, gate={"agreement": 0.01})
    guarding.begin()
    up.journal.drop_work("embed")
    assert measured(lambda: guarding.after_batch(len(up.gallery)), 1.0) == 1


def test_without_a_gate_the_end_waits_for_its_turn_too(slowly):
    up, guard, measured = slowly
    guarding = guard()
    guarding.plan = replace(guarding.plan, gate={})
    guarding._measure()
    up.journal.drop_work("embed")
    assert measured(lambda: guarding.after_batch(len(up.gallery)), 1.0) == 0
    assert measured(lambda: guarding.after_batch(len(up.gallery)), 180.0) == 1


def test_people_switch_it_off_and_on_while_it_runs(slowly):
    up, guard, measured = slowly
    guarding = guard()
    guarding._measure()
    up.switch_guard(on=False, by="anna")
    assert measured(lambda: guarding.after_batch(len(up.gallery)), 1000.0) == 0
    assert measured(guard().begin, 1000.0) == 0
    up.switch_guard(on=True)
    assert measured(lambda: guarding.after_batch(0), 1.0) == 1


def test_progress_brings_a_measurement_before_its_time(slowly):
    up, guard, measured = slowly
    guarding = guard()
    guarding.begin()
    guarding._took = 0.0
    assert measured(lambda: guarding.after_batch(0), 1.0) == 0
    assert measured(lambda: guarding.after_batch(len(up.gallery)), 1.0) == 1


def test_a_run_that_follows_soon_does_not_measure_again(slowly):
    _, guard, measured = slowly
    guard()._measure()
    assert measured(guard().begin, 100.0) == 0
    assert measured(guard().begin, 81.0) == 1


def test_a_gate_that_is_not_met_holds_everything_with_its_figures(tmp_path):
    up = guarded(tmp_path, gate={"old_overlap": 1.0})
    runner = start_until_held(up)
    status = up.status()
    (hold,) = status.holds
    assert (hold.kind, hold.about, hold.required) == ("gate", "old_overlap", 1.0)
    assert hold.measured == quality_curve(up.journal)[0]["old_overlap"] < 1.0
    assert status.moved == 0  # it was measured before the first batch
    assert status.next_steps[0] == "resume --accept-gate"
    assert control.resume(up.journal) is False  # a resume alone does not pass it
    assert [hold.kind for hold in up.journal.holds()] == ["gate"]
    up.stop()
    runner.join(20)
    assert up.status().moved == 0


def test_who_accepts_it_is_written_down_and_the_metric_holds_no_more(tmp_path):
    up = guarded(tmp_path, gate={"old_overlap": 1.0})
    runner = start_until_held(up)
    (hold,) = control.accept_gate(up.journal, by="anna")
    runner.join(60)
    assert up.status().phase is Phase.BACKFILLED
    assert up.status().gate_accepted == ("old_overlap",)
    (fact,) = up.journal.facts("gate_accepted")
    assert fact.body == {"by": "anna", "metrics": {"old_overlap": [hold.measured, 1.0]}}
    assert up.verify().passed
    assert up.cutover().phase is Phase.CUT_OVER
    assert control.accept_gate(up.journal, by="anna") == ()


def test_a_held_upgrade_stays_held_when_it_is_started_again(tmp_path):
    up = guarded(tmp_path, gate={"old_overlap": 1.0})
    runner = start_until_held(up)
    up.stop()
    runner.join(20)
    again = threading.Thread(target=up.start)
    again.start()
    again.join(0.5)
    assert again.is_alive()
    assert up.status().moved == 0
    assert len(quality_curve(up.journal)) == 1  # held: nothing new to measure
    up.stop()
    again.join(20)


def test_another_gate_in_the_plan_goes_on_and_is_written_down(tmp_path):
    up = guarded(tmp_path, gate={"old_overlap": 1.0})
    runner = start_until_held(up)
    up.stop()
    runner.join(20)
    again = guarded(tmp_path, gate={"old_overlap": 0.0}, gallery=up.gallery, source=up.source)
    with again.session(by="bob"):
        assert again.start().phase is Phase.BACKFILLED
    (fact,) = again.journal.facts("gate")
    assert fact.body == {"required": {"old_overlap": 0.0}, "by": "bob"}
    assert gate_in_force(again.journal) == again.status().gate == {"old_overlap": 0.0}


def test_a_stricter_gate_counts_again_for_what_was_accepted(tmp_path):
    up = guarded(tmp_path, gate={"old_overlap": 1.0})
    runner = start_until_held(up)
    up.stop()
    runner.join(20)
    control.accept_gate(up.journal, by="anna")
    assert accepted_metrics(up.journal) == {"old_overlap"}
    again = guarded(tmp_path, gate={"old_overlap": 0.99}, gallery=up.gallery, source=up.source)
    runner = start_until_held(again)
    assert accepted_metrics(again.journal) == frozenset()
    again.stop()
    runner.join(20)


def test_a_gate_holds_the_cutover_too(tmp_path):
    up = guarded(tmp_path)
    up.start()
    up.verify()
    up.journal.hold(violations(*_bad(), (), 0.0)[0])
    with pytest.raises(HeldError, match=r"gate agreement=0\.1 < 0\.8"):
        up.cutover()


def _bad():
    return Quality(1.0, 9, 0.1, 99, None, 0, 0.5, 0.5, 1.0).to_dict(), {"agreement": 0.8}


def test_canaries_cannot_be_chosen_anew_in_the_middle(tmp_path):
    up = guarded(tmp_path)
    up.start()
    with pytest.raises(PlanError, match=r"another plan \(canary_items differ\)"):
        guarded(tmp_path, canary_items=17, gallery=up.gallery, source=up.source).start()


def test_an_abort_of_a_held_upgrade_does_not_wait_for_anybody(tmp_path):
    up = guarded(tmp_path, gate={"agreement": 1.0})  # needs moved items, so some have moved
    runner = start_until_held(up)
    other = guarded(tmp_path, gallery=up.gallery, source=up.source)
    assert other.abort().phase is Phase.ABORTED
    runner.join(20)
    assert not runner.is_alive()
    assert up.gallery.spaces == (OLD,)
    assert up.gallery.count(OLD) == ITEMS
    assert up.journal.holds() == ()
