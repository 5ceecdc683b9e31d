"""A plan is written, read and compared without loss, and refuses what makes no sense."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfill.errors import ConfigError, PlanError
from hotfill.types import ModelId
from hotfill.upgrade.plan import Plan
from tests.unit.upgrade.small import NEW, OLD

PLAN = Plan(OLD, NEW)
# Everything that UTF-8 can hold, which leaves out halves of surrogate pairs.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
models = st.builds(
    ModelId,
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
    revision=text,
    dimension=st.integers(1, 4096),
    metric=st.sampled_from(["cosine", "dot", "l2"]),
    normalised=st.booleans(),
    preprocessing=text,
)
plans = st.builds(
    Plan,
    old_model=models,
    new_model=models,
    strategy=st.sampled_from(["merge", "prefill"]),
    order=st.sampled_from(["random", "priority", "uncertainty"]),
    seed=st.integers(-(2**63), 2**63 - 1),
    priority_key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
    batch_size=st.integers(1, 10**6) | st.just("auto"),
    fit_items=st.integers(0, 10**6),
    max_attempts=st.integers(1, 9),
    max_dead_letters=st.integers(0, 9),
    cutover=st.sampled_from(["manual", "auto"]),
    duty_cycle=st.floats(0, 1, exclude_min=True),
    limits=st.dictionaries(text, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    verify_items=st.integers(0, 9),
    verification_lasts_seconds=st.floats(0, 1e9),
    items=st.integers(0, 10**12),
    bytes_to_write=st.integers(0, 10**15),
    seconds_expected=st.floats(0, 1e9),
    sampled_items=st.integers(0, 64),
    blockers=st.lists(text, max_size=3).map(tuple),
)


@given(plans)
def test_a_plan_survives_its_file(plan):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "plan.toml"
        plan.write(path)
        assert Plan.read(path) == plan


@given(plans)
def test_what_was_found_is_no_part_of_what_was_decided(plan):
    measured = replace(
        plan, items=7, bytes_to_write=8, seconds_expected=9.0, sampled_items=1, blockers=("x",)
    )
    assert measured.decisions() == plan.decisions()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("new_model", ModelId("newer", "1", 6)),
        ("strategy", "merge"),
        ("order", "uncertainty"),
        ("seed", 1),
        ("priority_key", "views"),
        ("batch_size", 1),
        ("fit_items", 1),
        ("max_attempts", 1),
        ("max_dead_letters", 1),
        ("cutover", "auto"),
        ("duty_cycle", 0.5),
        ("limits", {"lag_seconds": 1.0}),
        ("verify_items", 1),
        ("verification_lasts_seconds", 1.0),
    ],
)
def test_any_other_decision_makes_another_plan(name, value):
    changed = replace(PLAN, **{name: value}).decisions()
    assert [key for key, decided in PLAN.decisions().items() if changed[key] != decided] == [name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": "magic"}, "strategy must be one of merge, prefill, compatible, got 'magic'"),
        ({"order": "alphabetical"}, "order must be one of random, priority, uncertain"),
        ({"cutover": "someday"}, "cutover must be one of manual, auto, got 'someday'"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"max_attempts": 0}, "max_attempts must be >= 1, got 0"),
        ({"fit_items": -1}, "fit_items must be >= 0, got -1"),
        ({"max_dead_letters": -1}, "max_dead_letters must be >= 0, got -1"),
        ({"verify_items": -1}, "verify_items must be >= 0, got -1"),
        ({"verification_lasts_seconds": -0.5}, "verification_lasts_seconds must be >= 0"),
        ({"seed": 2**63}, "seed must be < 9223372036854775808, got 9223372036854775808"),
        ({"duty_cycle": 0.0}, "duty_cycle must be > 0, got 0.0"),
        ({"duty_cycle": 1.5}, "duty_cycle must be <= 1, got 1.5"),
        ({"duty_cycle": math.nan}, "duty_cycle must be <= 1, got nan"),
        (
            {"limits": {"lag_seconds": math.nan}},
            "limits.lag_seconds must be a finite number, got nan",
        ),
        ({"order": "priority"}, "needs priority_key, the metadata key to order by"),
        ({"strategy": "compatible"}, 'models of one dimension, got 4 and 6; use "merge"'),
        ({"queries": "both", "ranking": "raw"}, 'ranking = "calibrated" or "auto"; got'),
        ({"batch_size": -1}, "batch_size must be >= 1, got -1$"),
        ({"batch_size": 1.5}, "batch_size must be a whole number, got 1.5"),
        ({"batch_size": True}, "batch_size must be a whole number, got True"),
        ({"batch_size": "8"}, "batch_size: expected a whole number >= 1 or \"auto\", got '8'$"),
        ({"batch_size": "auto "}, "expected a whole number >= 1 or \"auto\", got 'auto '$"),
        ({"fit_items": "8"}, "fit_items must be a whole number, got '8'"),
        ({"duty_cycle": "all"}, "duty_cycle must be a number, got 'all'"),
        ({"old_query_weight": 1.0}, "old_query_weight must be < 1, got 1.0"),
        ({"refit": 1}, "refit must be true or false, got 1"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(PLAN, **change)


def test_unknown_and_missing_keys_are_named():
    values = {**PLAN.to_dict(), "bach_size": 3}
    del values["new_model"]
    with pytest.raises(
        ConfigError,
        match=r"new_model: field required; unknown key 'bach_size'; did you mean 'batch_size'",
    ):
        Plan.from_dict(values)


@pytest.mark.parametrize("written", ["strategy = ", "old_model = 3\nnew_model = 4\n"])
def test_a_damaged_file_is_named(tmp_path, written):
    path = tmp_path / "plan.toml"
    path.write_text(written)
    with pytest.raises(ConfigError):
        Plan.read(path)
    assert path.read_text() == written


def test_a_plan_with_blockers_cannot_start():
    with pytest.raises(PlanError) as caught:
        replace(PLAN, blockers=("no room", "no model")).check()
    assert caught.value.blockers == ("no room", "no model")
    PLAN.check()


def test_a_plan_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        PLAN.seed = 3


def test_printed_it_is_a_few_lines_for_people():
    made = replace(
        PLAN, items=1200, items_to_embed=300, bytes_to_write=31_200_000, sampled_items=64,
        seconds_expected=90.0, cached_share=0.25, price_expected=1.5, notes=("a note",),
        blockers=("a reason",),
    )  # fmt: skip
    assert str(made).splitlines() == [
        f"from      {OLD}",
        f"to        {NEW}",
        "strategy  prefill, order random, batches of 256, cutover manual",
        f"items     1,200, {OLD.dimension} to {NEW.dimension} dimensions, 31 MB to write",
        "time      about 1 min 30 s of embedding, by 64 items embedded now; fitting, writing and "
        "indexing come on top",
        "budget    300 items are embedded",
        "cached    25.0% of the sampled contents already",
        "price     about 1.50, in the currency of the price",
        "note      a note",
        "blocker   a reason",
    ]
    assert 'batch size "auto"' in str(replace(PLAN, batch_size="auto"))
    by_key = str(replace(PLAN, order="priority", priority_key="clicks"))
    assert "order priority by clicks" in by_key
