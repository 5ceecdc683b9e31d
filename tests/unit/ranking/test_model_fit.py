from __future__ import annotations

import numpy as np
import pytest

from hotfill.ranking import Affine, KernelMap
from hotfill.ranking.model_fit import fit_models, load_fit
from hotfill.types import ModelId

OLD, NEW = ModelId("old", "1", 12), ModelId("new", "1", 16)


def pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng, world = np.random.default_rng(0), np.random.default_rng(1)
    hidden = rng.normal(size=(count, 5))
    sides = [np.tanh(hidden @ world.normal(size=(5, d))) for d in (12, 16)]
    return tuple(side + 0.05 * rng.normal(size=side.shape) for side in sides)


@pytest.mark.parametrize(("transform", "kind"), [("kernel_bridge", KernelMap), ("bridge", Affine)])
def test_old_vectors_are_rewritten_by_the_map_that_goes_with_the_bridge(
    transform, kind, tmp_path
) -> None:
    old, new = pairs(300)
    fit = fit_models(old, new, OLD, NEW, transform=transform)
    assert isinstance(fit.up, kind)
    assert (fit.up.source, fit.up.target) == (OLD, NEW)
    fit.save(tmp_path)
    np.testing.assert_array_equal(load_fit(tmp_path).up(old[:5]), fit.up(old[:5]))


def test_the_default_map_of_old_vectors_finds_each_item_by_its_new_vector() -> None:
    old, new = pairs(600)
    fit = fit_models(old[:500], new[:500], OLD, NEW)
    queries = new[500:] / np.linalg.norm(new[500:], axis=1, keepdims=True)
    scores = queries @ fit.up(old[500:]).T
    places = (scores > np.diag(scores)[:, None]).sum(axis=1)
    assert np.median(places) <= 3  # of 100 items; chance is 50
