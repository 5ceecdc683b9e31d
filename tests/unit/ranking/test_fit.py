from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import ConfigError, InputError, ShapeError, VectorError
from hotfill.ranking import (
    Affine,
    Fit,
    KernelMap,
    Scorer,
    SideHits,
    fit_compatible,
    fit_models,
    rank_merge,
)
from hotfill.types import ModelId

OLD = ModelId("old", "1", 16)
NEW = ModelId("new", "1", 24)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class World:
    """Items of forty classes, seen dimly by the old model and clearly by the new one."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self.centres = rng.normal(size=(40, 8))
        self.old, self.new = rng.normal(size=(8, 16)), rng.normal(size=(8, 24))

    def draw(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        labels = rng.integers(40, size=count)
        hidden = self.centres[labels] + 0.5 * rng.normal(size=(count, 8))
        old = hidden @ self.old + 2.5 * rng.normal(size=(count, 16)) + 3
        new = hidden @ self.new + 0.8 * rng.normal(size=(count, 24)) + 3
        return unit(old), unit(new), labels


WORLD = World()


def fitted(count: int = 1200) -> Scorer:
    old, new, _ = WORLD.draw(count, seed=1)
    return fit_models(old, new, OLD, NEW, transform="bridge").scorer


def quality(scores: np.ndarray, queries: np.ndarray, gallery: np.ndarray) -> float:
    """Mean share of the query's class among the ten best."""
    best = np.argsort(-scores, axis=1)[:, :10]
    return float(np.mean(gallery[best] == queries[:, None]))


def test_quality_never_falls_below_the_old_model_and_ends_at_the_new_one() -> None:
    scorer = fitted()
    old, new, labels = WORLD.draw(1500, seed=2)
    old_queries, new_queries, asked = WORLD.draw(200, seed=3)
    prepared = scorer.prepare(new_queries)
    refined = prepared.refined[OLD]
    exact = refined.features @ refined.bridge.gallery_features(old).T
    old_scores = np.stack([refined.calibrated(row, scores) for row, scores in enumerate(exact)])
    new_scores = new_queries @ new.T
    points = []
    for moved in range(0, 1501, 300):
        mixed = np.where(np.arange(1500) < moved, new_scores, old_scores)
        points.append(quality(mixed, asked, labels))
    floor = quality(old_queries @ old.T, asked, labels)
    assert min(points) > floor
    assert points[-1] == quality(new_scores, asked, labels)
    assert np.all(np.diff(points) > -0.02)


def test_calibrated_sides_share_the_top_fairly_where_the_sides_are_random_halves() -> None:
    scorer = fitted()
    old, new, _ = WORLD.draw(1500, seed=2)
    queries = WORLD.draw(100, seed=3)[1]
    prepared = scorer.prepare(queries)
    refined = prepared.refined[OLD]
    from_old = []
    for row in range(100):
        raw = refined.bridge.gallery_features(old[:750]) @ refined.features[row]
        sides = [
            SideHits([f"o{i}" for i in range(750)], refined.calibrated(row, raw), raw),
            SideHits([f"n{i}" for i in range(750)], *[new[750:] @ queries[row]] * 2),
        ]
        from_old.append(np.mean(rank_merge(sides, 50).sides == 0))
    assert 0.3 < np.mean(from_old) < 0.7


def test_the_reference_items_are_held_out_and_seeded() -> None:
    first, second = fitted(), fitted()
    np.testing.assert_array_equal(first.new_reference, second.new_reference)
    assert len(first.new_reference) == 300


def test_few_pairs_are_enough_for_a_first_scorer() -> None:
    assert len(fitted(100).new_reference) == 25


def test_bad_input_is_refused() -> None:
    old, new, _ = WORLD.draw(120, seed=1)
    with pytest.raises(InputError, match="at least 100"):
        fit_models(old[:99], new[:99], OLD, NEW)
    with pytest.raises(ShapeError, match="120 and 119 rows"):
        fit_models(old, new[:119], OLD, NEW)
    with pytest.raises(ShapeError, match=r"\(n, 16\)"):
        fit_models(new, old, OLD, NEW)
    with pytest.raises(VectorError, match="the same"):
        fit_models(old, np.repeat(new[:1], 120, axis=0), OLD, NEW)
    with pytest.raises(ConfigError, match="kernel_bridge, bridge"):
        fit_models(old, new, OLD, NEW, transform="ridge")
    broken = old.copy()
    broken[5, 2] = np.nan
    with pytest.raises(VectorError, match="row 5"):
        fit_models(broken, new, OLD, NEW)


def test_identical_models_give_a_flat_curve() -> None:
    same = ModelId("same", "2", 24)
    _, new, labels = WORLD.draw(1500, seed=2)
    pairs = WORLD.draw(1200, seed=1)[1]
    scorer = fit_models(pairs, pairs, same, NEW, transform="bridge").scorer
    queries, asked = WORLD.draw(200, seed=3)[1:]
    refined = scorer.prepare(queries).refined[same]
    exact = refined.features @ refined.bridge.gallery_features(new).T
    assert quality(exact, asked, labels) >= quality(queries @ new.T, asked, labels) - 0.02


@pytest.mark.parametrize(("transform", "kind"), [("kernel_bridge", KernelMap), ("bridge", Affine)])
def test_old_vectors_are_mapped_by_what_goes_with_the_bridge_and_both_come_back_from_files(
    transform, kind, tmp_path
) -> None:
    old, new, _ = WORLD.draw(300, seed=1)
    fit = fit_models(old, new, OLD, NEW, transform=transform)
    assert isinstance(fit.up, kind)
    assert (fit.up.source, fit.up.target) == (OLD, NEW)
    fit.save(tmp_path)
    back = Fit.load(tmp_path)
    np.testing.assert_array_equal(back.up(old[:5]), fit.up(old[:5]))
    np.testing.assert_array_equal(
        back.prepare(new[:5]).vectors[OLD].rows, fit.prepare(new[:5]).vectors[OLD].rows
    )
    np.testing.assert_array_equal(back.uncertainty(old[:5]), fit.uncertainty(old[:5]))
    assert back.agreement(old, new) == fit.agreement(old, new)


def test_the_default_map_of_old_vectors_finds_each_item_by_its_new_vector() -> None:
    old, new, _ = WORLD.draw(1000, seed=1)
    fit = fit_models(old[:900], new[:900], OLD, NEW)
    scores = new[900:] @ fit.up(old[900:]).T
    places = (scores > np.diag(scores)[:, None]).sum(axis=1)
    assert np.median(places) <= 15  # of 100 items; chance is 50


def test_compatible_models_are_searched_by_the_new_query_itself() -> None:
    same = ModelId("same", "2", 24)
    queries = WORLD.draw(3, seed=1)[1]
    prepared = fit_compatible(same, NEW).prepare(queries)
    np.testing.assert_allclose(prepared.vectors[same].rows, queries, atol=1e-6)
