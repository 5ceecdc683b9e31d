"""A hold says what was measured and what is required; throttles are exactly what is above."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfill.upgrade.phases import Hold, throttles

names = st.sampled_from(["a", "b", "c", "d"])
figures = st.dictionaries(names, st.floats(-10, 10))


@pytest.mark.parametrize(
    ("hold", "text"),
    [
        (Hold("paused", "anna", 0.0), "paused (anna)"),
        (
            Hold("throttled", "search_p99_milliseconds", 0.0, measured=212, required=150),
            "throttled search_p99_milliseconds=212 > 150",
        ),
        (Hold("gate", "hit_rate", 0.0, measured=0.61, required=0.7), "gate hit_rate=0.61 < 0.7"),
        (Hold("error", "dead_letters", 0.0, measured=2, required=0), "error dead_letters=2 > 0"),
        (Hold("error", "count", 0.0, measured=3), "error count=3"),
        (Hold("gate", "m", 0.0, measured=0.0, required=0.5), "gate m=0 < 0.5"),
    ],
)
def test_a_hold_reads_as_reason_measured_and_required(hold, text):
    assert str(hold) == text
    assert Hold(**json.loads(json.dumps(hold.to_dict()))) == hold


@given(figures, figures)
def test_exactly_what_is_measured_above_its_limit_throttles(measured, limits):
    found = throttles(measured, limits, now=7.0)
    above = [name for name in sorted(limits) if name in measured and measured[name] > limits[name]]
    assert [hold.about for hold in found] == above
    for hold in found:
        assert (hold.kind, hold.since) == ("throttled", 7.0)
        assert (hold.measured, hold.required) == (measured[hold.about], limits[hold.about])
