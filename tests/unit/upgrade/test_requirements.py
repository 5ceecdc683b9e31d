"""What a gate requires, and when it is met."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfill.errors import ConfigError
from hotfill.upgrade.guard import Quality
from hotfill.upgrade.phases import Hold
from hotfill.upgrade.plan import Plan, is_met, judged_again, violations
from tests.unit.upgrade.small import NEW, OLD

GOOD = Quality(0.5, 10, 1.0, 100, 0.0, 10, 1.0, 1.0, 0.5)
NAMES = ("agreement", "old_overlap", "first_kept", "flips")
shares = st.floats(0, 1)


def slowly(quality, gate, accepted):
    """The same by plain comparison."""
    wrong = []
    for name in sorted(gate):
        value = getattr(quality, name)
        if value is None or name in accepted:
            continue
        if (name == "flips" and value > gate[name]) or (name != "flips" and value < gate[name]):
            wrong.append((name, value, gate[name]))
    return wrong


@given(
    st.fixed_dictionaries({name: st.none() | shares for name in NAMES}),
    st.dictionaries(st.sampled_from(NAMES), shares),
    st.sets(st.sampled_from(NAMES)),
)
def test_exactly_the_values_that_are_not_met_and_not_accepted_hold(values, gate, accepted):
    quality = replace(GOOD, **values)
    holds = violations(quality.to_dict(), gate, accepted, now=7.0)
    found = [(hold.about, hold.measured, hold.required) for hold in holds]
    assert found == slowly(quality, gate, accepted)
    assert all((hold.kind, hold.since) == ("gate", 7.0) for hold in holds)


def test_a_hold_says_what_was_measured_and_what_is_required():
    low, high = replace(GOOD, agreement=0.31), replace(GOOD, flips=0.5)
    (hold,) = violations(low.to_dict(), {"agreement": 0.8}, (), 0.0)
    assert str(hold) == "gate agreement=0.31 < 0.8"
    (hold,) = violations(high.to_dict(), {"flips": 0.02}, (), 0.0)
    assert str(hold) == "gate flips=0.5 > 0.02"


def test_at_the_required_value_the_gate_is_met():
    assert all(is_met(name, 0.3, 0.3) for name in NAMES)


@given(
    st.dictionaries(st.sampled_from(NAMES), shares), st.dictionaries(st.sampled_from(NAMES), shares)
)
def test_another_gate_keeps_exactly_the_holds_it_would_have_made_of_the_same_figures(first, then):
    quality = replace(GOOD, agreement=0.5, old_overlap=0.5, first_kept=0.5, flips=0.5)
    before = violations(quality.to_dict(), first, (), 3.0)
    stay = judged_again([*before, Hold("paused", "anna", 0.0)], then)
    common = {name: then[name] for name in then if name in {hold.about for hold in before}}
    assert list(stay) == list(violations(quality.to_dict(), common, (), 3.0))


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ({"map": 0.5}, "gate.map: a gate may be set on agreement, old_overlap, first_kept, flips"),
        ({"flips": 2}, "gate.flips must be <= 1, got 2"),
        ({"flips": "low"}, "flips must be a number, got 'low'"),
        ({"flips": True}, "flips must be a number, got True"),
        ({"flips": float("nan")}, "flips must be <= 1, got nan"),
    ],
)
def test_a_gate_that_means_nothing_is_refused(gate, message):
    with pytest.raises(ConfigError, match=message):
        Plan(OLD, NEW, canary_items=8, canary_queries="some", gate=gate)
