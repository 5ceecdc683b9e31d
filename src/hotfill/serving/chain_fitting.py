"""What is fitted for a chain: one map from the new model to each of several old ones.

Every old side is searched with its own vector and ranked by its own calibration, all of them on the
new model's scale, so that three sides or more become one list. Queries are embedded once, by the
new model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotfill import transforms
from hotfill.errors import InputError
from hotfill.scoring import Scorer, Side
from hotfill.scoring.fit import MIN_PAIRS, REFERENCES
from hotfill.scoring.tail import tail
from hotfill.serving.model_fit import FITS, ModelFit

if TYPE_CHECKING:
    from hotfill.types import ModelId
    from hotfill.upgrade.fitting.base import ChainPairs
    from hotfill.upgrade.plan import TransformName


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
    up = transforms.fit_ridge(vectors, pairs.new[rows], source=newest, target=new_model)
    return ModelFit(up, Scorer(new_model, pairs.new[references], sides))


_REMEDY = (
    "give [old] an embedder, so that it can make more, let the unfinished upgrade go on for a "
    "while, or abort it"
)
