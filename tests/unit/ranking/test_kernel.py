from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hotfill.errors import InputError, ShapeError, VectorError
from hotfill.ranking import fit_bridge, fit_kernel, fit_kernel_bridge, fit_ridge, load_transform
from hotfill.ranking.pairs import agreement
from hotfill.ranking.regression import solve_positive
from hotfill.types import ModelId

OLD = ModelId("old", "1", 12)
NEW = ModelId("new", "1", 20)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def pairs(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two views of the same four hidden numbers, joined by a bent relation."""
    rng, world = np.random.default_rng(seed), np.random.default_rng(99)
    hidden = rng.normal(size=(count, 4))
    old = np.tanh(hidden @ world.normal(size=(4, 12))) + 0.05 * rng.normal(size=(count, 12))
    new = np.maximum(hidden @ world.normal(size=(4, 20)), 0) + 0.05 * rng.normal(size=(count, 20))
    return unit(old), unit(new)


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    centre = second.mean(0)
    return float(np.mean(np.sum(unit(first - centre) * unit(second - centre), axis=1)))


def slow_kernel_ridge(
    old: np.ndarray, new: np.ndarray, items: np.ndarray, sharpness: float, penalty: float, held: int
) -> np.ndarray:
    """The module's regression pair by pair; returns unit predictions in the weighed space."""
    centre = old.astype(float).mean(0)

    def turned(row: np.ndarray) -> np.ndarray:
        return (row - centre) / np.linalg.norm(row - centre)

    known = [turned(row) for row in old]
    between = [[np.sum((a - b) ** 2) for b in known[:500]] for a in known[:500]]
    scale = sharpness / np.median(between)
    gram = np.array([[np.exp(-scale * np.sum((a - b) ** 2)) for b in known] for a in known])
    mean = new[held:].astype(float).mean(0)
    values, axes = np.linalg.eigh(np.cov(new[held:].astype(float), rowvar=False, bias=True))
    weigh = axes * (values + 0.3 * values.mean()) ** (-0.2)
    weights = np.linalg.solve(gram + penalty * np.eye(len(known)), (new - mean) @ weigh)
    out = []
    for item in items:
        row = [np.exp(-scale * np.sum((turned(item) - b) ** 2)) for b in known]
        out.append(row @ weights)
    return np.stack(out)


def test_a_fit_equals_the_slow_kernel_ridge() -> None:
    old, new = pairs(100)
    items = pairs(7, seed=1)[0]
    fitted = fit_kernel(old, new, old_model=OLD, new_model=NEW, sharpnesses=[1.0], penalties=[0.1])
    expected = unit(slow_kernel_ridge(old, new, items, 1.0, 0.1, held=20))
    got = fitted.weighed(items)
    # The slow one stays in the axes of the covariance, so inner products are compared.
    np.testing.assert_allclose(got @ got.T, expected @ expected.T, atol=2e-3)


def test_a_bent_relation_is_followed_better_than_by_a_straight_map() -> None:
    old, new = pairs(800)
    fresh_old, fresh_new = pairs(300, seed=1)
    bent = fit_kernel(old, new, old_model=OLD, new_model=NEW)(fresh_old)
    straight = fit_ridge(old, new, source=OLD, target=NEW)(fresh_old)
    assert cosine(bent, fresh_new) > cosine(straight, fresh_new)


def test_mapped_vectors_stand_out_to_new_queries_as_true_ones_do() -> None:
    old, new = pairs(800)
    fresh_old, fresh_new = pairs(1000, seed=1)
    queries = pairs(50, seed=2)[1]
    mapped = fit_kernel(old, new, old_model=OLD, new_model=NEW)(fresh_old)
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)
    highs = [np.quantile(queries @ side.T, 0.97, axis=1) for side in (mapped, fresh_new)]
    spread = float((queries @ fresh_new.T).std())
    assert abs(np.mean(highs[0] - highs[1])) < 0.3 * spread


def test_more_pairs_than_landmarks_are_used() -> None:
    fresh_old, fresh_new = pairs(300, seed=1)
    old, new = pairs(1500)
    many = fit_kernel(old, new, old_model=OLD, new_model=NEW, landmarks=100)
    few = fit_kernel(old[:125], new[:125], old_model=OLD, new_model=NEW)
    assert many.arrays["landmarks"].shape == (100, 12)
    assert cosine(many(fresh_old), fresh_new) > cosine(few(fresh_old), fresh_new)


@pytest.mark.parametrize("landmarks", [400, 2000])
def test_a_kernel_that_is_nearly_singular_is_solved_all_the_same(landmarks: int) -> None:
    old, new = pairs(1000)
    old[500:], new[500:] = old[:500], new[:500]  # every item twice
    fitted = fit_kernel(
        old,
        new,
        old_model=OLD,
        new_model=NEW,
        sharpnesses=[0.01],
        penalties=[0.0],
        landmarks=landmarks,
    )
    assert cosine(fitted(old), new) > 0.3


def test_a_kernel_bridge_finds_the_item_itself_more_often_than_a_straight_one() -> None:
    old, new = pairs(800)
    gallery, queries = pairs(400, seed=1)
    ranks = []
    for fit in (fit_bridge, fit_kernel_bridge):
        bridge = fit(new, old, new_model=NEW, old_model=OLD)
        scores = bridge.query_features(queries) @ bridge.gallery_features(gallery).T
        ranks.append(np.mean(np.sum(scores > np.diag(scores)[:, None], axis=1)))
    assert ranks[1] < ranks[0]


def test_both_come_back_from_their_files(tmp_path: Path) -> None:
    old, new = pairs(120)
    up = fit_kernel(old, new, old_model=OLD, new_model=NEW)
    up.save(tmp_path / "up")
    np.testing.assert_array_equal(
        load_transform(tmp_path / "up", source=OLD, target=NEW)(old), up(old)
    )
    bridge = fit_kernel_bridge(new, old, new_model=NEW, old_model=OLD)
    bridge.save(tmp_path / "bridge")
    back = load_transform(tmp_path / "bridge", source=NEW, target=OLD)
    np.testing.assert_array_equal(back(new), bridge(new))
    np.testing.assert_array_equal(back.gallery_features(old), bridge.gallery_features(old))


def test_bad_input_is_refused() -> None:
    old, new = pairs(60)
    with pytest.raises(InputError, match="at least 50"):
        fit_kernel(old[:49], new[:49], old_model=OLD, new_model=NEW)
    with pytest.raises(VectorError, match="the same"):
        fit_kernel(old, np.repeat(new[:1], 60, axis=0), old_model=OLD, new_model=NEW)
    free = ModelId("new", "1", 20, metric="dot", normalised=False)
    with pytest.raises(ShapeError, match="use ridge"):
        fit_kernel(old, new, old_model=OLD, new_model=free)


def test_agreement_is_one_for_the_true_vectors_and_small_for_others() -> None:
    rng = np.random.default_rng(0)
    true, other = rng.normal(size=(2, 100, 8))
    assert agreement(true, 3 * true) == pytest.approx(1.0)
    assert agreement(true, true + 0.5 * other) < 0.9
    assert agreement(true, other) < 0.02


def test_agreement_equals_a_slow_loop() -> None:
    rng = np.random.default_rng(1)
    true = unit(rng.normal(size=(30, 5)))
    mapped = unit(true + 0.7 * rng.normal(size=(30, 5)))
    precisions, reciprocals = [], []
    for i in range(30):
        order = np.argsort(-(mapped @ true[i]))
        reciprocals.append(1 / (1 + list(order).index(i)))
        others = [j for j in order if j != i]
        nearest = sorted((j for j in range(30) if j != i), key=lambda j: -(true[i] @ true[j]))[:5]
        hits = [rank for rank, j in enumerate(others, 1) if j in nearest]
        precisions.append(np.mean([n / rank for n, rank in enumerate(hits, 1)]))
    expected = np.mean(precisions) * np.mean(reciprocals)
    assert agreement(true, mapped) == pytest.approx(expected)


def test_the_kernel_within_a_kernel_bridge_is_the_kernel_map_of_the_same_pairs() -> None:
    old, new = pairs(300)
    bridge = fit_kernel_bridge(new, old, new_model=NEW, old_model=OLD)
    alone = fit_kernel(old, new, old_model=OLD, new_model=NEW)
    assert bridge.kernel.fingerprint == alone.fingerprint
    assert bridge.kernel.facts["method"] == "kernel ridge"
    np.testing.assert_array_equal(bridge.kernel(old[:20]), alone(old[:20]))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_positive_system_is_solved_as_numpy_solves_any_in_strips_of_targets(kind):
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(60, 40))
    system, targets = (rows.T @ rows + np.eye(40)).astype(kind), rng.normal(size=(40, 150))
    solved = solve_positive(system, targets.astype(kind))
    assert solved.dtype == kind
    np.testing.assert_allclose(solved, np.linalg.solve(system, targets), atol=1e-4)


def test_a_system_that_is_not_positive_definite_is_refused():
    with pytest.raises(np.linalg.LinAlgError):
        solve_positive(-np.eye(3), np.ones((3, 2)))
