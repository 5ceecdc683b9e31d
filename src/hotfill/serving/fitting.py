"""Fitting what joins two models, by the strategy of a plan.

Everything is fitted from paired vectors alone, without labels. A share of the pairs is kept from
the fit; on it the sides are calibrated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hotfill import scoring, transforms
from hotfill.errors import ConfigError
from hotfill.scoring import Scorer, Side
from hotfill.scoring.own_view import OWN_SHARE
from hotfill.serving.chain_fitting import fit_chain
from hotfill.serving.model_fit import FITS, ModelFit, load_fit
from hotfill.upgrade.fitting.base import Fitting

if TYPE_CHECKING:
    from hotfill.transforms import Transform
    from hotfill.types import ModelId, Vectors
    from hotfill.upgrade.fitting.base import ChainPairs
    from hotfill.upgrade.plan import Plan, TransformName


def fitting_for(plan: Plan) -> Fitting:
    """Choose how to fit for a plan's strategy."""
    old, new = plan.old_model, plan.new_model
    if plan.strategy == "compatible":
        return Fitting(fit=lambda first, second: _compatible(old, new), load=load_fit)

    def fit(first: Vectors, second: Vectors) -> ModelFit:
        share = OWN_SHARE if plan.own_queries else 0.0
        found = fit_models(first, second, old, new, transform=plan.transform, own_share=share)
        given = given_map(plan)
        return found if given is None else replace(found, up=given)

    def fit_sides(pairs: ChainPairs) -> ModelFit:
        return fit_chain(pairs, new, transform=plan.transform)

    return Fitting(fit=fit, load=load_fit, fit_chain=fit_sides)


def given_map(plan: Plan) -> Transform | None:
    """Read the trained `up` map that a plan names; None where it names none.

    Raises ConfigError (no such file), ModelMismatchError (made for other models), InputError.
    """
    if not plan.up:
        return None
    try:
        return transforms.load(plan.up, source=plan.old_model, target=plan.new_model)
    except FileNotFoundError as error:
        raise ConfigError(f"up: {error}") from error


def fit_models(
    old_vectors: Vectors,
    new_vectors: Vectors,
    old_model: ModelId,
    new_model: ModelId,
    *,
    transform: TransformName = "kernel_bridge",
    own_share: float = 0.0,
) -> ModelFit:
    """Fit a bridge with per-query tail calibration for searches, and `up`.

    old_vectors (n, d_old), new_vectors (n, d_new): row i of both is the same item; n >= 100.
    transform: how new queries meet old vectors; see `Plan`. `up` goes with it: the kernel map
        within a kernel bridge, ridge beside a bridge.
    own_share: of an old item's score, what the old model's own query has to say.
    Raises InputError when there are too few pairs.
    """
    scorer = scoring.fit_scorer(
        old_vectors,
        new_vectors,
        old_model=old_model,
        new_model=new_model,
        fit_transform=FITS[transform],
        own_share=own_share,
    )
    bridge = scorer.sides[0].transform
    if isinstance(bridge, transforms.KernelBridge):
        return ModelFit(bridge.kernel, scorer)
    up = transforms.fit_ridge(old_vectors, new_vectors, source=old_model, target=new_model)
    return ModelFit(up, scorer)


def _compatible(old_model: ModelId, new_model: ModelId) -> ModelFit:
    """Take the models at their word: new queries search old vectors as they are."""
    there = transforms.identity(old_model, new_model)
    back = transforms.identity(new_model, old_model)
    reference = np.empty((0, old_model.dimension), np.float32)
    side = Side(old_model, back, scoring.Uncalibrated(), reference)
    return ModelFit(there, Scorer(new_model, reference, [side]))
