"""What is fitted between two models: one folder of files that are only worth something together.

Everything is fitted from paired vectors alone, without labels. A share of the pairs is kept from
the fit; on it the sides are calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hotfill import scoring, transforms
from hotfill.scoring import Scorer, Side
from hotfill.upgrade.fit import Fitting

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from hotfill.transforms import Transform
    from hotfill.types import ModelId, Vectors
    from hotfill.upgrade.plan import Plan


@dataclass(frozen=True, slots=True)
class ModelFit:
    """The `up` map and the scorer built around it."""

    up: Transform
    scorer: Scorer

    def uncertainty(self, old_vectors: Vectors) -> NDArray[np.floating]:
        """Guess how wrong `up` is: the farther from all reference items, the less sure. (n,)."""
        reference = self.scorer.sides[0].reference
        return np.asarray(1.0 - (old_vectors @ reference.T).max(axis=1))

    def save(self, folder: Path) -> None:
        """Write to a folder that exists."""
        self.up.save(folder / "up.safetensors")
        scoring.save(self.scorer, folder / "scorer")


def load_fit(folder: Path) -> ModelFit:
    """Read what `ModelFit.save` wrote. Raises InputError when it is damaged."""
    return ModelFit(transforms.load(folder / "up.safetensors"), load_scorer(folder))


def load_scorer(folder: Path) -> Scorer:
    """Read the scorer alone: all that searches need."""
    return scoring.load(folder / "scorer", load_transform=transforms.load)


def fitting_for(plan: Plan) -> Fitting:
    """Choose how to fit for a plan's strategy."""
    old, new = plan.old_model, plan.new_model
    if plan.strategy == "compatible":
        return Fitting(fit=lambda first, second: _compatible(old, new), load=load_fit)
    return Fitting(fit=lambda first, second: fit_models(first, second, old, new), load=load_fit)


def fit_models(
    old_vectors: Vectors, new_vectors: Vectors, old_model: ModelId, new_model: ModelId
) -> ModelFit:
    """Fit the defaults: ridge for `up`, a bridge with per-query tail calibration for searches.

    old_vectors (n, d_old), new_vectors (n, d_new): row i of both is the same item; n >= 100.
    Raises InputError when there are too few pairs.
    """
    scorer = scoring.fit_scorer(
        old_vectors,
        new_vectors,
        old_model=old_model,
        new_model=new_model,
        fit_transform=transforms.fit_bridge,
    )
    up = transforms.fit_ridge(old_vectors, new_vectors, source=old_model, target=new_model)
    return ModelFit(up, scorer)


def _compatible(old_model: ModelId, new_model: ModelId) -> ModelFit:
    """Take the models at their word: new queries search old vectors as they are."""
    there = transforms.identity(old_model, new_model)
    back = transforms.identity(new_model, old_model)
    reference = np.empty((0, old_model.dimension), np.float32)
    side = Side(old_model, back, scoring.Uncalibrated(), reference)
    return ModelFit(there, Scorer(new_model, reference, [side]))
