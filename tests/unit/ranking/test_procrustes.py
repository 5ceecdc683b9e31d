from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import InputError, VectorError
from hotfill.ranking import fit_procrustes
from hotfill.types import ModelId


def space(name: str, dimension: int) -> ModelId:
    return ModelId(name, "1", dimension, metric="dot", normalised=False)


def rotation(dimension: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dimension, dimension)))[0]


def slow_residual(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    return sum(float(np.sum((row @ matrix - other) ** 2)) for row, other in zip(x, y, strict=True))


def test_a_rotation_is_found_again() -> None:
    x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    turn = rotation(5, 1)
    fitted = fit_procrustes(x, x @ turn, source=space("a", 5), target=space("b", 5))
    np.testing.assert_allclose(fitted.matrix, turn, atol=1e-5)


def test_no_other_rotation_fits_better() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 30, 4)).astype(np.float32)
    fitted = fit_procrustes(x, y, source=space("a", 4), target=space("b", 4))
    np.testing.assert_allclose(fitted.matrix @ fitted.matrix.T, np.eye(4), atol=1e-5)
    best = slow_residual(fitted.matrix, x, y)
    assert all(slow_residual(rotation(4, seed), x, y) > best for seed in range(200))


@pytest.mark.parametrize(("source", "target"), [(3, 7), (7, 3)])
def test_unequal_dimensions_keep_an_orthonormal_basis(source: int, target: int) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(20, source)), rng.normal(size=(20, target))
    matrix = fit_procrustes(x, y, source=space("a", source), target=space("b", target)).matrix
    product = matrix @ matrix.T if source <= target else matrix.T @ matrix
    np.testing.assert_allclose(product, np.eye(min(source, target)), atol=1e-5)


def test_centring_finds_the_shift_too() -> None:
    x = np.random.default_rng(4).normal(size=(40, 3)).astype(np.float32)
    y = x @ rotation(3, 5) + np.array([1.0, -2.0, 3.0])
    fitted = fit_procrustes(x, y, source=space("a", 3), target=space("b", 3), centre=True)
    np.testing.assert_allclose(fitted(x), y, atol=1e-5)


def test_fewer_pairs_than_dimensions_are_refused() -> None:
    x = np.random.default_rng(6).normal(size=(4, 5))
    with pytest.raises(InputError, match="at least 5"):
        fit_procrustes(x, x, source=space("a", 5), target=space("b", 5))


def test_constant_vectors_are_refused() -> None:
    with pytest.raises(VectorError, match="the same"):
        fit_procrustes(np.ones((9, 2)), np.ones((9, 2)), source=space("a", 2), target=space("b", 2))
