"""Quality against the share that is done: naive merge, calibrated merge, prefill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from demo import models
from demo.application import GALLERY_DRAWERS, QUERY_DRAWERS
from hotfill.metrics.relevance import same_label
from hotfill.ranking import Fit
from hotfill.rehearsal.backfill_evaluation import evaluate_backfill, evaluate_side, evenly
from hotfill.rehearsal.mixed_gallery import MixedGallery
from hotfill.rehearsal.orders import random_order

if TYPE_CHECKING:
    from pathlib import Path

    from demo.application import Application
    from hotfill.metrics import BackfillCurve
    from hotfill.rehearsal.backfill_evaluation import Figures
    from hotfill.rehearsal.mixed_gallery import Sides
    from hotfill.types import ModelId, Vectors

POINTS = 11
SEED = 0


def measure_curves(
    folder: Path, application: Application, vectors: dict[ModelId, Vectors]
) -> tuple[dict[str, BackfillCurve], Figures, Figures]:
    """Measure with the very fit that the upgrade used. Returns the curves, and old and new alone.

    The fit has seen the items it was fitted on, 2,000 of the gallery's pairs without labels, and
    no query.
    """
    fit = Fit.load(folder / "upgrade.upgrade" / "fit-1")
    old_model, new_model = models.old().model_id, models.new().model_id
    gallery = application.rows_of(GALLERY_DRAWERS)
    queries = application.rows_of(QUERY_DRAWERS)
    old_items, new_items = vectors[old_model][gallery], vectors[new_model][gallery]
    old_queries, new_queries = vectors[old_model][queries], vectors[new_model][queries]
    labels = application.drawings.labels
    relevance = same_label(labels[queries], labels[gallery])

    def naive(rows: slice) -> tuple[Vectors, Vectors]:
        return old_queries[rows] @ old_items.T, new_queries[rows] @ new_items.T

    def calibrated(rows: slice) -> tuple[Vectors, Vectors]:
        refined = fit.scorer.prepare(new_queries[rows]).refined[old_model]
        exact = refined.features @ refined.bridge.gallery_features(old_items).T
        old = [refined.calibrated(row, scores) for row, scores in enumerate(exact)]
        return np.stack(old), new_queries[rows] @ new_items.T

    mapped = fit.up(old_items)

    def prefilled(rows: slice) -> tuple[Vectors, Vectors]:
        return new_queries[rows] @ mapped.T, new_queries[rows] @ new_items.T

    order = {"random": random_order(len(gallery), seed=SEED)}
    old = evaluate_side(lambda rows: naive(rows)[0], relevance).mean
    new = evaluate_side(lambda rows: naive(rows)[1], relevance).mean

    def curve(name: str, sides: Sides) -> BackfillCurve:
        stages = evaluate_backfill(
            MixedGallery(name, "", "", sides), relevance, order, evenly(POINTS)
        )["random"]
        return stages.curve(old=old, new=new)

    curves = {
        "naive_merge": curve("naive_merge", naive),
        "calibrated_merge": curve("calibrated_merge", calibrated),
        "prefill": curve("prefill", prefilled),
    }
    return curves, old, new
