from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfill.errors import InputError, ShapeError
from hotfill.metrics import BackfillCurve, harm_beyond_noise

TENTHS = tuple(step / 10 for step in range(11))
QUALITY = st.floats(0, 1, allow_subnormal=False)


def curve(values, old=0.2, new=0.4, **more):
    shares = tuple(np.linspace(0.0, 1.0, len(values)))
    return BackfillCurve(shares, tuple(values), old, new, **more)


@given(QUALITY, QUALITY, st.integers(2, 30))
def test_a_straight_line_from_old_to_new_has_gain_one_half(old, new, points) -> None:
    line = curve(np.linspace(old, new, points), old, new)
    if abs(new - old) <= 1e-4:
        return
    assert line.gain == pytest.approx(0.5, abs=1e-6)
    assert line.end == pytest.approx(0, abs=1e-12)
    assert line.dips == (points - 1 if new < old else 0)


@given(st.lists(QUALITY, min_size=2, max_size=12))
def test_area_and_checks_equal_their_loops(values) -> None:
    steps = len(values) - 1
    some = curve(values, 0.1, 0.9, eps=0.05)
    area = sum((values[k] + values[k + 1]) / 2 / steps for k in range(steps))
    assert some.auc == pytest.approx(area)
    assert some.auc_m == pytest.approx(sum(values) / (steps + 1))
    # the identity of the specification's section 1
    difference = ((values[0] + values[-1]) / 2 - area) / (steps + 1)
    assert some.auc_m - some.auc == pytest.approx(difference, abs=1e-12)
    assert some.gain == pytest.approx((area - 0.1) / 0.8)
    assert some.floor == min(values) - 0.1
    assert some.below_start == min(values) - values[0]
    assert some.dips == sum(values[k + 1] < values[k] - 0.05 for k in range(steps))


def test_shares_need_not_be_even() -> None:
    assert BackfillCurve((0.0, 0.1, 1.0), (0.0, 1.0, 1.0), 0.0, 1.0).auc == pytest.approx(0.95)


def test_identical_models_have_no_gain_and_no_dip() -> None:
    flat = curve([0.3] * 11, old=0.3, new=0.3)
    assert flat.gain is None
    assert (flat.dips, flat.floor, flat.end) == (0, 0, 0)


def test_the_published_fastfill_figures_give_the_gains_derived_from_them() -> None:
    # online-backfill.md 3.4: AUC 40.5 between 28.5 and 45.3 is a gain of 0.71.
    assert curve([40.5, 40.5], old=28.5, new=45.3).gain == pytest.approx(0.71, abs=0.005)


@pytest.mark.parametrize(
    ("shares", "values", "problem"),
    [
        ((0.0,), (1.0,), "at least two"),
        ((0.0, 1.0), (1.0,), "as many values as shares"),
        ((0.1, 1.0), (1.0, 1.0), "ascend from"),
        ((0.0, 0.9), (1.0, 1.0), "ascend from"),
        ((0.0, 0.5, 0.5, 1.0), (1.0,) * 4, "ascend from"),
        ((0.0, 1.0), (1.0, float("nan")), "finite"),
    ],
)
def test_a_curve_that_is_none_is_refused(shares, values, problem) -> None:
    with pytest.raises(InputError, match=problem):
        BackfillCurve(shares, values, 0.0, 1.0)


def test_flips_stand_at_every_share_or_nowhere() -> None:
    assert curve([0.1] * 3, flips=(0.0, 0.1, 0.2)).flips == (0.0, 0.1, 0.2)
    with pytest.raises(ShapeError, match="3 flips or none"):
        curve([0.1] * 3, flips=(0.0,))
    with pytest.raises(InputError, match="eps"):
        curve([0.1] * 3, eps=-1.0)


@given(st.lists(QUALITY, min_size=2, max_size=12), QUALITY)
def test_harm_counts_points_below_an_earlier_one_and_below_the_new_system(values, new) -> None:
    slow = sum(
        any(values[j] < min(values[i], new) - 0.05 for i in range(j)) for j in range(len(values))
    )
    assert curve(values, 0.1, new, eps=0.05).harm == slow


def test_falling_from_above_the_new_system_to_it_is_overshoot_and_no_harm() -> None:
    falling = curve([0.5, 0.45, 0.4], old=0.2, new=0.4)
    assert (falling.harm, falling.dips) == (0, 2)
    assert falling.overshoot == pytest.approx(0.1)
    assert curve([0.2, 0.4], old=0.2, new=0.4).overshoot == 0


def test_gain_is_measured_against_the_new_system_or_against_the_curves_own_end() -> None:
    better = curve([0.2, 0.6], old=0.2, new=0.4)
    assert better.gain == pytest.approx(1.0)
    assert better.gain_to_end == pytest.approx(0.5)
    assert curve([0.3, 0.2], old=0.2, new=0.4).gain_to_end is None


def test_harm_that_chance_explains_is_not_counted() -> None:
    rng = np.random.default_rng(0)
    queries = rng.uniform(size=400)
    new = queries + 0.2
    noisy = [queries, queries + rng.normal(size=400) - 0.01, new]
    assert curve([float(point.mean()) for point in noisy], 0.0, float(new.mean())).harm == 1
    assert harm_beyond_noise(noisy, new) == 0
    fallen = [queries, queries - 0.05 + 0.01 * rng.normal(size=400), new, new - 0.1]
    assert harm_beyond_noise(fallen, new) == 2
    assert harm_beyond_noise([new + 0.3, new + 0.1, new], new) == 0


def test_harm_needs_the_same_queries_everywhere() -> None:
    with pytest.raises(ShapeError, match="at least 2"):
        harm_beyond_noise([], [0.1, 0.2])
    with pytest.raises(ShapeError, match="at least 2"):
        harm_beyond_noise([[0.1]], [0.1])
    with pytest.raises(ShapeError, match="the same queries"):
        harm_beyond_noise([[0.1, 0.2]], [0.1, 0.2, 0.3])
