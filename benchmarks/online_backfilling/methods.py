"""What stands beside the ladder of `mixed_toy`: hotfill's own ways and Drift-Adapter's maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.mixed_toy.methods import LABEL_FREE, LABELLED, Bench
from hotfill.lab.training.transforms import MapSettings, train_residual_mlp
from hotfill.ranking import compare, fit_low_rank, fit_procrustes
from hotfill.ranking.one_space import fit_one_space
from hotfill.rehearsal.backfill_evaluation import Stages

Order = dict[str, Stages]


class QueryBench(Bench):
    """Gives the figures of every query instead of their means, for paired intervals."""

    curves = Bench.stages


def one_space(bench: Bench, ranking: str, finish: str = "plain") -> Order:
    """Old vectors imputed once into the index of the new ones; no labels, nothing trained."""
    space = fit_one_space(*bench.pairs, bench.old_model, bench.new_model, finish=finish)
    queries = space.searching(bench.new["test"])
    imputed = queries @ space.impute(bench.old["test"]).T
    own = queries @ space.own(bench.new["test"]).T
    if ranking == "calibrated":
        background = space.scale.prepare(queries)
        origins = [space.origin] * imputed.shape[1]
        imputed = np.stack(
            [background.scores(row, line, origins) for row, line in enumerate(imputed)]
        )
    return bench.curves(imputed, own)


def drift(bench: Bench, name: str) -> Order:
    """One of Drift-Adapter's maps, old to new; old vectors are compared as it carries them."""
    if name == "residual MLP":
        up = train_residual_mlp(
            *bench.pairs,
            source=bench.old_model,
            target=bench.new_model,
            settings=MapSettings(epochs=50, batch=256, learning_rate=1e-3, seed=bench.seed),
        )
    else:
        fit = fit_procrustes if name == "procrustes" else fit_low_rank
        up = fit(*bench.pairs, source=bench.old_model, target=bench.new_model)
    return bench.curves(
        compare(bench.new["test"], up(bench.old["test"]), bench.new_model), bench.new_scores
    )


LADDER = ("RM-naive", "RQT", "RQT + CL_old", "RQT + MCL (psi, rho)")
"""SEO's order: two systems merged, one encoder, one system's contrast, the joint one with rho."""

DEFAULT = "one space, calibrated"
"""What hotfill does without labels."""

METHODS: dict[str, Callable[[Bench], Order]] = {
    **LABELLED,
    "RM + tail": LABEL_FREE["RM + tail"],
    "Drift-Adapter: procrustes": lambda bench: drift(bench, "procrustes"),
    "Drift-Adapter: low-rank": lambda bench: drift(bench, "low-rank"),
    "Drift-Adapter: residual MLP": lambda bench: drift(bench, "residual MLP"),
    "one space, raw": lambda bench: one_space(bench, "raw"),
    DEFAULT: lambda bench: one_space(bench, "calibrated"),
    "one space, agreement end": lambda bench: one_space(bench, "calibrated", "agreement"),
}

LABEL_FREE_NAMES = {"RM-naive", "RQT", "FCT h"} | {name for name in METHODS if name not in LABELLED}
