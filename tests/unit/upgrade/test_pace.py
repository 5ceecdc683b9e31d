"""Before each batch: go on, wait, or stop."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfill.upgrade import control, pace
from hotfill.upgrade.journal.sqlite import SqliteJournal
from hotfill.upgrade.pace import Pace, Progress
from hotfill.upgrade.phases import Hold, Phase

POLL = pace._POLL_SECONDS


@pytest.fixture
def journal(tmp_path):
    made = SqliteJournal(tmp_path / "journal.sqlite")
    made.enter(Phase.BACKFILLING)
    yield made
    made.close()


def gate_of(journal, **changes):
    values = {"probes": {}, "limits": {}, "duty_cycle": 1.0, "progress": Progress()}
    return Pace(journal=journal, phase=Phase.BACKFILLING, **{**values, **changes})


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(pace.time, "monotonic", lambda: self.now)


def test_without_a_hold_it_lets_every_batch_through(journal):
    ask = gate_of(journal)
    assert [ask() for _ in range(3)] == [0.0, 0.0, 0.0]


@given(
    st.floats(0.01, 1),
    st.lists(st.floats(0.001, 100), min_size=1, max_size=8),
)
def test_the_share_of_the_time_spent_working_is_the_duty_cycle(duty_cycle, batches):
    class Free:  # a journal that holds nothing
        phase = Phase.BACKFILLING
        holds = staticmethod(lambda: ())
        check_leading = staticmethod(lambda: None)

    with pytest.MonkeyPatch.context() as monkeypatch:
        clock = Clock(monkeypatch)
        ask = gate_of(Free(), duty_cycle=duty_cycle)
        for seconds in batches:
            while rest := ask():
                clock.now += rest
            clock.now += seconds
        clock.now += ask() or 0.0
    assert ask.progress.working_seconds == pytest.approx(sum(batches))
    assert sum(batches) / clock.now == pytest.approx(duty_cycle)


def test_waiting_for_a_hold_is_not_work(journal, monkeypatch):
    clock = Clock(monkeypatch)
    ask = gate_of(journal)
    ask()
    clock.now += 3.0
    control.pause(journal, by="anna")
    assert ask() == POLL
    clock.now += 1000.0
    assert ask() == POLL
    control.resume(journal)
    assert ask() == 0.0
    assert ask.progress.working_seconds == 3.0


def test_a_throttle_appears_with_its_figures_follows_them_and_goes(journal):
    measured = {"lag_seconds": 1.0}
    ask = gate_of(
        journal,
        probes={"lag_seconds": lambda: measured["lag_seconds"]},
        limits={"lag_seconds": 2.0},
    )
    assert ask() == 0.0
    measured["lag_seconds"] = 5.0
    assert ask() == POLL
    (first,) = journal.holds()
    assert str(first) == "throttled lag_seconds=5 > 2"
    measured["lag_seconds"] = 3.0
    assert ask() == POLL
    (second,) = journal.holds()
    assert (second.measured, second.since) == (3.0, first.since)
    measured["lag_seconds"] = 2.0  # at the limit is not above it
    assert ask() == 0.0
    assert journal.holds() == ()


def test_any_one_of_several_reasons_is_enough_to_wait(journal):
    ask = gate_of(
        journal,
        probes={"a_seconds": lambda: 9.0, "b_seconds": lambda: 0.0},
        limits={"a_seconds": 1.0, "b_seconds": 1.0},
    )
    assert ask() == POLL
    assert [hold.about for hold in journal.holds()] == ["a_seconds"]


def test_a_throttle_that_a_dead_process_left_ends_with_the_first_measurement(journal):
    journal.hold(Hold("throttled", "lag_seconds", 0.0, measured=9.0, required=1.0))
    assert gate_of(journal)() == 0.0
    assert journal.holds() == ()


def test_a_limit_without_a_probe_does_not_hold(journal):
    assert gate_of(journal, limits={"lag_seconds": 0.0})() == 0.0


def test_a_postponed_cutover_does_not_hold_the_work(journal):
    control.postpone(journal, by="anna")
    assert gate_of(journal)() == 0.0


@pytest.mark.parametrize("kind", ["paused", "gate", "stale_verification", "error"])
def test_every_other_hold_holds_the_work(journal, kind):
    journal.hold(Hold(kind, "x", 0.0))
    assert gate_of(journal)() == POLL


def test_it_stops_when_asked_and_when_the_upgrade_left_the_phase(journal):
    stop = threading.Event()
    ask = gate_of(journal, stop=stop)
    stop.set()
    assert ask() is None
    ask = gate_of(journal)
    control.abort(journal)
    assert ask() is None


def test_a_stop_comes_before_a_hold(journal):
    control.pause(journal, by="anna")
    stop = threading.Event()
    stop.set()
    assert gate_of(journal, stop=stop)() is None
