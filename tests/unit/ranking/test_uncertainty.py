from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hotfill.errors import ConfigError, ShapeError
from hotfill.ranking import (
    StampedTransform,
    fit_bridge,
    fit_kernel,
    fit_kernel_bridge,
    identity,
    uncertainty,
)
from hotfill.types import ModelId

OLD = ModelId("old", "1", 12)
NEW = ModelId("new", "1", 20)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def pairs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Half of the hidden numbers are seen by the new model only, and vary in strength."""
    rng, world = np.random.default_rng(seed), np.random.default_rng(99)
    strength = rng.uniform(0.1, 2, size=(count, 1))
    hidden = np.hstack([rng.normal(size=(count, 4)) * strength, rng.normal(size=(count, 4))])
    old = hidden[:, :4] @ world.normal(size=(4, 12)) + rng.normal(size=(count, 12))
    new = hidden @ world.normal(size=(8, 20))
    return unit(old), unit(new)


def up(old: np.ndarray, new: np.ndarray) -> StampedTransform:
    return fit_kernel(old, new, old_model=OLD, new_model=NEW)


def straight(old: np.ndarray, new: np.ndarray) -> StampedTransform:
    return fit_bridge(new, old, new_model=NEW, old_model=OLD)


def bent(old: np.ndarray, new: np.ndarray) -> StampedTransform:
    return fit_kernel_bridge(new, old, new_model=NEW, old_model=OLD)


@pytest.mark.parametrize("fit", [up, straight, bent])
def test_doubtful_items_are_those_the_transform_places_worst(fit: Callable[..., Any]) -> None:
    transform = fit(*pairs(800, 0))
    old, new = pairs(600, 1)
    doubts = uncertainty(transform, old)
    placed = up(*pairs(800, 0))(old)
    centre = new.mean(0)
    wrong = 1 - np.sum(unit(placed - centre) * unit(new - centre), axis=1)
    order = np.argsort(-doubts)
    assert wrong[order[:200]].mean() > 1.1 * wrong[order[-200:]].mean()


def test_many_rows_give_the_same_as_few() -> None:
    transform = straight(*pairs(200, 0))
    old = pairs(5000, 1)[0]
    np.testing.assert_allclose(
        uncertainty(transform, old)[4090:4100], uncertainty(transform, old[4090:4100]), atol=1e-5
    )


def test_a_transform_without_doubts_and_wrong_vectors_are_refused() -> None:
    with pytest.raises(ConfigError, match="Identity has no measure of doubt"):
        uncertainty(identity(NEW, NEW), np.ones((2, 20)))
    with pytest.raises(ShapeError, match=r"\(n, 12\)"):
        uncertainty(straight(*pairs(100, 0)), np.ones((2, 20)))
