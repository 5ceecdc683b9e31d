from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import InputError, ShapeError, VectorError
from hotfill.ranking import fit_ridge, fit_ridge_batches
from hotfill.types import ModelId

OLD = ModelId("old", "1", 6)
NEW = ModelId("new", "1", 9)
FREE_OLD = ModelId("old", "1", 6, metric="l2", normalised=False)
FREE_NEW = ModelId("new", "1", 9, metric="dot", normalised=False)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def pairs(count: int, seed: int = 0, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    old = unit(rng.normal(size=(count, 6)) + 0.5)
    new = unit(old @ rng.normal(size=(6, 9)) + noise * rng.normal(size=(count, 9)))
    return old, new


def slow_ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Solve the augmented least-squares problem, one output at a time."""
    x, y = x.astype(float), y.astype(float)
    centred, target = x - x.mean(0), y - y.mean(0)
    strength = penalty * len(x) * np.mean(np.var(x, axis=0))
    rows = np.vstack([centred, np.sqrt(strength) * np.eye(x.shape[1])])
    columns = [
        np.linalg.lstsq(rows, np.concatenate([target[:, j], np.zeros(x.shape[1])]), rcond=None)[0]
        for j in range(y.shape[1])
    ]
    matrix = np.stack(columns, axis=1)
    return matrix, y.mean(0) - x.mean(0) @ matrix


@pytest.mark.parametrize("penalty", [0.0, 0.01, 1.0])
def test_a_fit_equals_the_slow_least_squares_solution(penalty: float) -> None:
    old, new = pairs(200)
    fitted = fit_ridge(old, new, source=OLD, target=NEW, penalties=[penalty])
    matrix, offset = slow_ridge(old, new, penalty)
    np.testing.assert_allclose(fitted.matrix, matrix, atol=1e-5)
    np.testing.assert_allclose(fitted.offset, offset, atol=1e-5)


def test_the_penalty_chosen_has_the_best_held_out_cosine() -> None:
    old, new = pairs(60, noise=1.0)
    grid = [1e-4, 1e-2, 1.0, 100.0]
    fitted = fit_ridge(old, new, source=OLD, target=NEW, penalties=grid)
    out = np.arange(1, 61) % 5 == 0
    cosines = []
    for penalty in grid:
        matrix, offset = slow_ridge(old[~out], new[~out], penalty)
        cosines.append(np.mean(np.sum(unit(old[out] @ matrix + offset) * new[out], axis=1)))
    assert fitted.facts["penalty"] == grid[int(np.argmax(cosines))]
    assert fitted.facts["held_out_agreement"] == pytest.approx(max(cosines), abs=1e-6)


def test_batches_give_the_same_map_as_one_array() -> None:
    old, new = pairs(500)
    whole = fit_ridge(old, new, source=OLD, target=NEW)
    parts = ((old[i : i + 7], new[i : i + 7]) for i in range(0, 500, 7))
    np.testing.assert_allclose(
        fit_ridge_batches(parts, source=OLD, target=NEW).matrix, whole.matrix, atol=1e-6
    )


def test_an_exact_linear_relation_is_found_in_both_directions() -> None:
    rng = np.random.default_rng(3)
    old = rng.normal(size=(300, 6)).astype(np.float32)
    turn = np.linalg.qr(rng.normal(size=(9, 9)))[0][:6]
    new = (old @ turn + 0.3).astype(np.float32)
    up = fit_ridge(old, new, source=FREE_OLD, target=FREE_NEW)
    down = fit_ridge(new, old, source=FREE_NEW, target=FREE_OLD)
    np.testing.assert_allclose(up(old), new, atol=1e-3)
    np.testing.assert_allclose(down(new), old, atol=1e-3)


def test_the_result_has_unit_length_where_the_target_compares_by_cosine() -> None:
    old, new = pairs(100)
    mapped = fit_ridge(old, new, source=OLD, target=NEW)(5 * old)
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1.0, atol=1e-6)


def test_a_dimension_that_never_varies_does_no_harm_without_a_penalty() -> None:
    old, new = pairs(100)
    old[:, 2] = 0
    fitted = fit_ridge(old, new, source=OLD, target=NEW, penalties=[0.0])
    assert np.all(np.isfinite(fitted(unit(old))))
    np.testing.assert_allclose(fitted.matrix[2], 0.0, atol=1e-9)


def test_one_dimension_can_be_mapped() -> None:
    one = ModelId("one", "1", 1, metric="dot", normalised=False)
    x = np.linspace(1, 2, 40, dtype=np.float32)[:, None]
    fitted = fit_ridge(x, 3 * x + 1, source=one, target=one)
    np.testing.assert_allclose(fitted(x), 3 * x + 1, rtol=1e-3)


def test_too_few_pairs_are_refused_and_the_number_needed_is_said() -> None:
    old, new = pairs(19)
    with pytest.raises(InputError, match=r"19 pairs .* at least 20"):
        fit_ridge(old, new, source=OLD, target=NEW)
    with pytest.raises(InputError, match=r"19 pairs .* at least 20"):
        fit_ridge_batches([(old, new)], source=OLD, target=NEW)
    with pytest.raises(InputError, match="at least 20"):
        fit_ridge_batches([], source=OLD, target=NEW)


def test_rows_that_do_not_match_are_refused() -> None:
    old, new = pairs(50)
    with pytest.raises(ShapeError, match="50 and 49 rows"):
        fit_ridge(old, new[:-1], source=OLD, target=NEW)


def test_swapped_arguments_are_refused() -> None:
    old, new = pairs(50)
    with pytest.raises(ShapeError, match=r"\(n, 6\)"):
        fit_ridge(new, old, source=OLD, target=NEW)


def test_nan_is_refused_and_the_row_named() -> None:
    old, new = pairs(50)
    new[7, 1] = np.nan
    with pytest.raises(VectorError) as caught:
        fit_ridge(old, new, source=OLD, target=NEW)
    assert caught.value.item_ids == ("row 7",)


def test_constant_vectors_are_refused() -> None:
    old, new = pairs(50)
    with pytest.raises(VectorError, match="the same"):
        fit_ridge(np.repeat(old[:1], 50, axis=0), new, source=OLD, target=NEW)
    with pytest.raises(VectorError, match=r"new@1.* the same"):
        fit_ridge(old, np.repeat(new[:1], 50, axis=0), source=OLD, target=NEW)


@pytest.mark.parametrize("grid", [[], [-1.0], [float("nan")]])
def test_a_bad_penalty_is_refused(grid: list[float]) -> None:
    old, new = pairs(50)
    with pytest.raises(InputError, match="penalties"):
        fit_ridge(old, new, source=OLD, target=NEW, penalties=grid)
