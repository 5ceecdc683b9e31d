"""Fitting what joins two models, by the strategy of a plan.

Everything is fitted from paired vectors alone, without labels. A share of the pairs is kept from
the fit; on it the sides are calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hotfill import ranking
from hotfill.errors import ConfigError, InputError
from hotfill.ranking import Scorer, Side
from hotfill.ranking.calibration import tail
from hotfill.ranking.fit_scorer import MIN_PAIRS, REFERENCES
from hotfill.ranking.pairs import neighbours_kept
from hotfill.ranking.scorer import Bridge
from hotfill.upgrade.pairs import Fitting

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from hotfill.ranking import Prepared, Transform
    from hotfill.ranking.fit_scorer import FitTransform
    from hotfill.types import ModelId, Vectors
    from hotfill.upgrade.pairs import ChainPairs
    from hotfill.upgrade.plan import Plan, TransformName


# What was fitted between two models; its files are only worth something together -----------------

FITS: dict[TransformName, FitTransform] = {
    "kernel_bridge": ranking.fit_kernel_bridge,
    "bridge": ranking.fit_bridge,
}
"""How new queries meet old vectors, by the plan's word for it."""


@dataclass(frozen=True, slots=True)
class ModelFit:
    """The `up` map and the scorer built around it."""

    up: Transform
    scorer: Scorer

    def uncertainty(self, old_vectors: Vectors) -> NDArray[np.floating]:
        """Say how doubtful the old side's scores are, (n,), highest first.

        Raises ConfigError for compatible models: nothing is mapped, so nothing is in doubt.
        """
        doubtful = self.scorer.sides[0].transform
        if doubtful is None:
            raise ConfigError("queries are embedded by both models, so there is no map to doubt")
        return ranking.uncertainty(doubtful, old_vectors)

    def agreement(self, old_vectors: Vectors, new_vectors: Vectors) -> float:
        """Compare rankings of held-out old vectors with the new model's own, 0 to 1."""
        side = self.scorer.sides[0]
        if isinstance(side.transform, Bridge):
            features = side.transform.query_features(new_vectors)
            scores = features @ side.transform.gallery_features(old_vectors).T
        elif side.transform is not None:
            scores = ranking.compare(side.transform(new_vectors), old_vectors, side.model)
        else:
            raise ConfigError("queries are embedded by both models, so there is no map to compare")
        return neighbours_kept(new_vectors, scores)

    def prepare(
        self, queries: Vectors, old_queries: Mapping[ModelId, Vectors] | None = None
    ) -> Prepared:
        """Make queries of the new model ready to search all sides, as searches do."""
        return self.scorer.prepare(queries, old_queries)

    def save(self, folder: Path) -> None:
        """Write to a folder that exists."""
        self.up.save(folder / "up.safetensors")
        ranking.save_scorer(self.scorer, folder / "scorer")


def load_fit(folder: Path) -> ModelFit:
    """Read what `ModelFit.save` wrote. Raises InputError when it is damaged."""
    return ModelFit(ranking.load_transform(folder / "up.safetensors"), load_scorer(folder))


def load_scorer(folder: Path) -> Scorer:
    """Read the scorer alone: all that searches need."""
    return ranking.load_scorer(folder / "scorer", load_transform=ranking.load_transform)


# What is fitted for a chain: one map from the new model to each of several old ones --------------
# Every old side is searched with its own vector and ranked by its own calibration, all of them on
# the new model's scale, so that three sides or more become one list. Queries are embedded once, by
# the new model.


def fit_chain(
    pairs: ChainPairs, new_model: ModelId, *, transform: TransformName, seed: int = 0
) -> ModelFit:
    """Fit a scorer with one old side for each of the pairs' models, oldest first.

    transform: see `Plan`. seed: draws the reference items of the calibration, which have vectors of
    all models and which no map is fitted on: 500, or a quarter where there are fewer.
    Raises InputError when a side has fewer than 100 pairs, or when fewer than 100 items have
    vectors of all models.
    """
    for model, (rows, _) in pairs.old.items():
        if len(rows) < MIN_PAIRS:
            raise InputError(
                f"only {len(rows)} sampled items have a vector of {model}, and {MIN_PAIRS} are "
                f"needed to search its side: {_REMEDY}"
            )
    common = np.arange(len(pairs.new))
    for rows, _ in pairs.old.values():
        common = np.intersect1d(common, rows)
    if len(common) < MIN_PAIRS:
        raise InputError(
            f"only {len(common)} sampled items have vectors of all old models, and {MIN_PAIRS} are "
            f"needed to compare their scores: {_REMEDY}"
        )
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(common)
    references = np.sort(drawn[: min(REFERENCES, len(common) // 4)])
    sides = []
    for model, (rows, vectors) in pairs.old.items():
        order = np.argsort(rows)
        ordered, table = rows[order], vectors[order]
        kept = np.searchsorted(ordered, references)
        fitted = rng.permutation(np.setdiff1d(np.arange(len(ordered)), kept))
        fit = FITS[transform](
            pairs.new[ordered[fitted]], table[fitted], new_model=new_model, old_model=model
        )
        sides.append(Side(model, fit, tail(), table[kept]))
    newest, (rows, vectors) = list(pairs.old.items())[-1]
    up = ranking.fit_ridge(vectors, pairs.new[rows], source=newest, target=new_model)
    return ModelFit(up, Scorer(new_model, pairs.new[references], sides))


_REMEDY = (
    "give [old] an embedder, so that it can make more, let the unfinished upgrade go on for a "
    "while, or abort it"
)


def fitting_for(plan: Plan) -> Fitting:
    """Choose how to fit for a plan's strategy."""
    old, new = plan.old_model, plan.new_model
    if plan.strategy == "compatible":
        return Fitting(fit=lambda first, second: _compatible(old, new), load=load_fit)

    def fit(first: Vectors, second: Vectors) -> ModelFit:
        share = plan.old_query_weight if plan.queries == "both" else 0.0
        found = fit_models(
            first, second, old, new, transform=plan.transform, old_query_weight=share
        )
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
        return ranking.load_transform(plan.up, source=plan.old_model, target=plan.new_model)
    except FileNotFoundError as error:
        raise ConfigError(f"up: {error}") from error


def fit_models(
    old_vectors: Vectors,
    new_vectors: Vectors,
    old_model: ModelId,
    new_model: ModelId,
    *,
    transform: TransformName = "kernel_bridge",
    old_query_weight: float = 0.0,
) -> ModelFit:
    """Fit a bridge with per-query tail calibration for searches, and `up`.

    old_vectors (n, d_old), new_vectors (n, d_new): row i of both is the same item; n >= 100.
    transform: how new queries meet old vectors; see `Plan`. `up` goes with it: the kernel map
        within a kernel bridge, ridge with a bridge.
    old_query_weight: of an old item's score, what the old model's own query has to say.
    Raises InputError when there are too few pairs.
    """
    scorer = ranking.fit_scorer(
        old_vectors,
        new_vectors,
        old_model=old_model,
        new_model=new_model,
        fit_transform=FITS[transform],
        old_query_weight=old_query_weight,
    )
    bridge = scorer.sides[0].transform
    if isinstance(bridge, ranking.KernelBridge):
        return ModelFit(bridge.kernel, scorer)
    up = ranking.fit_ridge(old_vectors, new_vectors, source=old_model, target=new_model)
    return ModelFit(up, scorer)


def _compatible(old_model: ModelId, new_model: ModelId) -> ModelFit:
    """Take the models at their word: new queries search old vectors directly."""
    there = ranking.identity(old_model, new_model)
    back = ranking.identity(new_model, old_model)
    reference = np.empty((0, old_model.dimension), np.float32)
    side = Side(old_model, back, ranking.Uncalibrated(), reference)
    return ModelFit(there, Scorer(new_model, reference, [side]))
