"""The cells, the hot refresh between them, and what was answered rightly before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hotfill.metrics import (
    BackfillCurve,
    Relevance,
    advbct_scores,
    average_precision,
    hit_rate,
    negative_flips,
    rank_scores,
    update_gain,
)

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, eq=False)
class Side:
    """Unit vectors of one model."""

    queries: NDArray[np.float32]
    gallery: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Cell:
    """map and hit_rate@1 of one pair of models; hits: (queries,) bool."""

    map: float
    hits: NDArray[np.bool_]

    def figures(self) -> dict[str, float]:
        return {"map": round(self.map, 4), "hit_rate@1": round(float(self.hits.mean()), 4)}


def search(
    queries: NDArray[np.float32], gallery: NDArray[np.float32], relevance: Relevance
) -> Cell:
    """Rank the gallery by the inner product."""
    ranks = rank_scores(queries @ gallery.T, relevance)
    return Cell(float(average_precision(ranks).mean()), hit_rate(ranks, 1))


def compare(
    *,
    old: Side,
    new: Side,
    old_gallery_in_new: NDArray[np.float32],
    upgraded: bool,
    reference: Cell,
    relevance: Relevance,
    seed: int,
) -> dict[str, object]:
    """All figures of one new model.

    old_gallery_in_new: the old gallery in the new model's dimension: as it is (cut or padded), or
        upgraded by the method's forward map. The hot refresh starts from it, and P_comp is of it.
    reference: the independent model on its own gallery.
    """
    before = search(old.queries, old.gallery, relevance)
    own = search(new.queries, new.gallery, relevance)
    order = np.random.default_rng([seed, 7]).permutation(len(new.gallery))
    cells = []
    for share in SHARES:
        mixed = old_gallery_in_new.copy()
        moved = order[: round(share * len(order))]
        mixed[moved] = new.gallery[moved]
        cells.append(search(new.queries, mixed, relevance))
    cross = cells[0]
    curve = BackfillCurve(
        SHARES, tuple(cell.map for cell in cells), old=before.map, new=reference.map
    )
    flips = [float(negative_flips(before.hits, cell.hits).mean()) for cell in cells]
    scores = advbct_scores(
        new=own.map, new_to_old=cross.map, old=before.map, reference=reference.map
    )
    return {
        "old/old": before.figures(),
        "new/old": cross.figures(),
        "new/new": own.figures(),
        "reference": reference.figures(),
        "gallery_upgraded": upgraded,
        "criterion": {
            "map": cross.map > before.map,
            "hit_rate@1": bool(cross.hits.mean() > before.hits.mean()),
        },
        "update_gain": _rounded(
            update_gain(new_to_old=cross.map, old=before.map, reference=reference.map), 4
        ),
        "p_up": _rounded(scores.p_up, 2),
        "p_comp": _rounded(scores.p_comp, 2),
        "p_1": _rounded(scores.p_1, 2),
        "hot_refresh": [round(cell.map, 4) for cell in cells],
        "hot_refresh_area": round(curve.auc, 4),
        "dips": curve.dips,
        "flips@1": [round(rate, 4) for rate in flips],
        "mean_flips@1": round(float(np.mean(flips)), 4),
    }


def resized(vectors: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """Cut or pad, then unit length: how spaces of different dimension meet without a map."""
    cut = np.zeros((len(vectors), dimension), dtype=np.float32)
    kept = min(dimension, vectors.shape[1])
    cut[:, :kept] = vectors[:, :kept]
    return np.asarray(cut / np.linalg.norm(cut, axis=1, keepdims=True), dtype=np.float32)


def _rounded(value: float, digits: int) -> float | None:
    """JSON has no NaN: a figure that is undefined is null there, and a dash in tables."""
    return None if math.isnan(value) else round(value, digits)


def mean_of(rows: list[Mapping[str, object]], *keys: str) -> float:
    """Mean of a nested figure over rows; NaN where it is undefined in any of them."""
    values = []
    for row in rows:
        value: object = row
        for key in keys:
            assert isinstance(value, Mapping)
            value = value[key]
        values.append(math.nan if value is None else float(value))  # type: ignore[arg-type]
    return float(np.mean(values))
