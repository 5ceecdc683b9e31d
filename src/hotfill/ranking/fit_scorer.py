"""The default scorer of the `merge` strategy: from paired vectors alone, in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hotfill.errors import InputError, ShapeError
from hotfill.ranking.calibration import tail
from hotfill.ranking.scorer import Scorer, Side
from hotfill.vectors import check_vectors

if TYPE_CHECKING:
    from hotfill.types import ModelId, Transform, Vectors

REFERENCES = 500
"""Reference items kept back from the pairs for the calibration."""

MIN_PAIRS = 100
"""Fewer pairs leave too few to fit by and to calibrate with."""


class FitTransform(Protocol):
    """Fits what carries new-model queries to the old side; `hotfill.ranking.fit_bridge`."""

    def __call__(
        self, new_vectors: Vectors, old_vectors: Vectors, *, new_model: ModelId, old_model: ModelId
    ) -> Transform:
        """Fit from pairs: row i of both is the same item."""
        ...


def fit_scorer(
    old_vectors: Any,
    new_vectors: Any,
    *,
    old_model: ModelId,
    new_model: ModelId,
    fit_transform: FitTransform,
    own_share: float = 0.0,
    seed: int = 0,
) -> Scorer:
    """Fit a transform and its tail calibration: no labels, no training loop, no item rewritten.

    old_vectors, new_vectors: (n, dimension), row i of both is the same item, n >= 100; 2,000 or
        more serve well. Quality must not be measured on these items afterwards.
    fit_transform: `hotfill.ranking.fit_bridge` is the one to use.
    own_share: what queries embedded by the old model have to say beside; see `Side`.
    seed: draws the reference items, 500 or a quarter of the pairs where there are fewer.
    Raises ShapeError, VectorError (NaN, zero, constant), InputError (too few pairs).
    """
    old = check_vectors(old_vectors, old_model.dimension, what=f"vectors of {old_model.name}")
    new = check_vectors(new_vectors, new_model.dimension, what=f"vectors of {new_model.name}")
    if len(old) != len(new):
        raise ShapeError(f"expected pairs, got {len(old)} old and {len(new)} new vectors")
    if len(old) < MIN_PAIRS:
        raise InputError(
            f"{len(old)} pairs are too few: at least {MIN_PAIRS} are needed, and 2,000 or more "
            "serve well; embed more items with both models"
        )
    drawn = np.random.default_rng(seed).permutation(len(old))
    references = min(REFERENCES, len(old) // 4)
    kept, fitted = drawn[:references], drawn[references:]
    transform = fit_transform(new[fitted], old[fitted], new_model=new_model, old_model=old_model)
    side = Side(old_model, transform, tail(), old[kept], own_share)
    return Scorer(new_model, new[kept], [side])
