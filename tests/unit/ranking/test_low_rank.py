from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import InputError
from hotfill.ranking import fit_low_rank, fit_ridge
from hotfill.types import ModelId

OLD = ModelId("old", "1", 6, metric="l2", normalised=False)
NEW = ModelId("new", "1", 9, metric="l2", normalised=False)


def pairs(count: int = 300, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    old = rng.normal(size=(count, 6)) * [3, 2, 1, 1, 0.5, 0.5] + 1
    new = old @ rng.normal(size=(6, 9)) + noise * rng.normal(size=(count, 9)) - 2
    return old.astype(np.float32), new.astype(np.float32)


def error(mapped: np.ndarray, true: np.ndarray) -> float:
    return float(np.mean(np.square(mapped - true)))


@pytest.mark.parametrize("rank", [1, 3])
def test_no_map_of_that_rank_found_by_descent_is_better(rank: int) -> None:
    """The oracle: alternating least squares on U V^T, what training by gradient would end in."""
    old, new = pairs()
    fitted = fit_low_rank(old, new, source=OLD, target=NEW, rank=rank, penalties=[0.0])
    assert np.linalg.matrix_rank(fitted.matrix, tol=1e-4) == rank
    x, y = old - old.mean(0), new - new.mean(0)
    v = np.random.default_rng(1).normal(size=(rank, 9))
    for _ in range(200):
        u = np.linalg.lstsq(x, y @ np.linalg.pinv(v), rcond=None)[0]
        v = np.linalg.lstsq(x @ u, y, rcond=None)[0]
    slow = error(x @ u @ v + new.mean(0), new)
    assert error(fitted(old), new) == pytest.approx(slow, rel=1e-4)


def test_at_full_rank_it_is_ridge() -> None:
    old, new = pairs()
    low = fit_low_rank(old, new, source=OLD, target=NEW, rank=64, penalties=[0.1])
    ridge = fit_ridge(old, new, source=OLD, target=NEW, penalties=[0.1])
    np.testing.assert_allclose(low.matrix, ridge.matrix, atol=1e-4)
    np.testing.assert_allclose(low.offset, ridge.offset, atol=1e-4)


def test_the_means_still_meet() -> None:
    old, new = pairs()
    fitted = fit_low_rank(old, new, source=OLD, target=NEW, rank=1)
    np.testing.assert_allclose(fitted(old).mean(0), new.mean(0), atol=1e-3)
    assert fitted.facts["rank"] == 1


def test_a_rank_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="rank"):
        fit_low_rank(*pairs(), source=OLD, target=NEW, rank=0)
