from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import ConfigError, ShapeError, VectorError
from hotfill.ranking import Calibration, Uncalibrated, fit_isotonic, fit_z_score, tail

RNG = np.random.default_rng(0)
NEW = RNG.normal(0.3, 0.1, size=(6, 200)).astype(np.float32)
OLD = (2 * NEW + 0.5 + 0.02 * RNG.normal(size=NEW.shape)).astype(np.float32)
ALL = [Uncalibrated(), fit_z_score(OLD, NEW), fit_isotonic(OLD, NEW), tail(), tail([0.99])]


@pytest.mark.parametrize("calibration", ALL, ids=lambda one: one.kind)
def test_the_order_within_a_side_never_changes(calibration: Calibration) -> None:
    scores = np.sort(RNG.normal(1.0, 0.5, size=300).astype(np.float32))
    ready = calibration.prepare(OLD, NEW)
    for query in range(len(OLD)):
        comparable = ready(query, scores)
        assert comparable.dtype == np.float32
        assert np.all(np.diff(comparable[np.diff(scores, prepend=-9) > 1e-3]) > 0)


@pytest.mark.parametrize("calibration", ALL[1:], ids=lambda one: one.kind)
def test_a_scale_that_differs_is_brought_to_the_new_side(calibration: Calibration) -> None:
    ready = calibration.prepare(OLD, NEW)
    for query in range(len(OLD)):
        np.testing.assert_allclose(ready(query, OLD[query]).mean(), NEW[query].mean(), atol=0.02)


def test_uncalibrated_scores_stay_as_they_are() -> None:
    np.testing.assert_array_equal(Uncalibrated().prepare(OLD, NEW)(3, OLD[3]), OLD[3])


def test_a_z_score_gives_the_new_sides_mean_and_spread() -> None:
    comparable = fit_z_score(OLD, NEW).prepare(OLD, NEW)(0, OLD.ravel())
    assert comparable.mean() == pytest.approx(NEW.mean(), abs=1e-5)
    assert comparable.std() == pytest.approx(NEW.std(), abs=1e-5)


def test_isotonic_follows_a_bent_relation() -> None:
    old = np.linspace(-1, 1, 2000, dtype=np.float32)[None]
    new = np.where(old < 0, 0, old**2).astype(np.float32)
    comparable = fit_isotonic(old, new).prepare(old, new)(0, old[0])
    np.testing.assert_allclose(comparable, new[0], atol=0.01)


def test_a_tail_agrees_with_a_slow_loop() -> None:
    quantiles = (0.9, 0.99)
    ready = tail(quantiles).prepare(OLD, NEW)
    for query in range(len(OLD)):
        rise = {}
        for name, row in (("old", OLD[query]), ("new", NEW[query])):
            steps = [float(np.quantile(row, q) - np.median(row)) for q in quantiles]
            rise[name] = np.sqrt(sum(step**2 for step in steps) / len(steps))
        for score in (0.1, 0.9, 1.7):
            expected = np.median(NEW[query]) + (score - np.median(OLD[query])) * (
                rise["new"] / rise["old"]
            )
            assert ready(query, np.float32([score]))[0] == pytest.approx(expected, abs=1e-5)


def test_a_tail_sees_each_querys_own_scale() -> None:
    scales = np.arange(1, 7, dtype=np.float32)[:, None]
    plain, scaled = tail().prepare(OLD, NEW), tail().prepare(scales * OLD, NEW)
    for query in range(6):
        np.testing.assert_allclose(
            scaled(query, scales[query] * OLD[query]), plain(query, OLD[query]), atol=1e-4
        )


def test_a_query_without_any_background_gives_finite_scores() -> None:
    flat = OLD.copy()
    flat[2] = 0.5
    assert np.all(np.isfinite(tail().prepare(flat, NEW)(2, OLD[2])))


def test_bad_reference_scores_are_refused() -> None:
    with pytest.raises(ShapeError, match="one shape"):
        fit_z_score(OLD, NEW[:, :-1])
    with pytest.raises(ShapeError, match="at least 20"):
        tail().prepare(OLD[:, :19], NEW[:, :19])
    with pytest.raises(VectorError, match="NaN"):
        fit_isotonic(np.full((2, 30), np.nan), NEW[:2, :30])
    with pytest.raises(VectorError, match="equal"):
        fit_z_score(OLD, np.ones_like(NEW))
    with pytest.raises(ConfigError, match="between"):
        tail([0.3])
