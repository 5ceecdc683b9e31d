"""Exact quality of a gallery at every stage of its backfilling, for one strategy and many orders.

Full rankings, no index: memory holds the scores of one chunk of queries on both sides, and the
per-query figures, nothing that grows with queries times items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import InputError
from hotfill.metrics import (
    BackfillCurve,
    average_precision,
    hit_rate,
    ndcg,
    negative_flips,
    rank_scores,
)
from hotfill.rehearsal.mixed_gallery import side_of_each
from hotfill.rehearsal.orders import check_order
from hotfill.rehearsal.stage_ranks import StageRanks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hotfill.metrics import Relevance
    from hotfill.rehearsal.mixed_gallery import MixedGallery, Scores

MAX_CHUNK_BYTES = 64 << 20  # one float32 matrix of scores; about four live at once
NDCG_CUT = 10


@dataclass(frozen=True, slots=True)
class Figures:
    """Mean figures of one system over the judged queries. map: over the full ranking."""

    map: float
    hit_rate_at_1: float
    ndcg_at_10: float

    def to_dict(self) -> dict[str, float]:
        """Return the figures under the names used in reports."""
        return {
            "map": self.map,
            "hit_rate@1": self.hit_rate_at_1,
            "ndcg@10": self.ndcg_at_10,
        }


@dataclass(frozen=True, slots=True, eq=False)
class PerQuery:
    """Figures of one system, per judged query.

    average_precision, ndcg: float64 (j,). right: bool (j,), whether the first hit is relevant.
    """

    average_precision: NDArray[np.float64]
    right: NDArray[np.bool_]
    ndcg: NDArray[np.float64]

    @property
    def mean(self) -> Figures:
        """The means over queries."""
        return Figures(
            float(self.average_precision.mean()), float(self.right.mean()), float(self.ndcg.mean())
        )


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """One strategy in one order: figures at each share of the gallery done.

    shares: ascending from 0.0 to 1.0. points: the figures at each.
    """

    shares: tuple[float, ...]
    points: tuple[PerQuery, ...]

    @property
    def flips(self) -> tuple[float, ...]:
        """Share of queries right at the stage before and wrong at this one; 0.0 at the first."""
        steps = zip(self.points, self.points[1:], strict=False)
        return (0.0, *(float(negative_flips(a.right, b.right).mean()) for a, b in steps))

    def curve(self, *, old: Figures, new: Figures, figure: str = "map") -> BackfillCurve:
        """Give the backfill curve of one figure: "map", "hit_rate@1" or "ndcg@10"."""
        return BackfillCurve(
            shares=self.shares,
            values=tuple(point.mean.to_dict()[figure] for point in self.points),
            old=old.to_dict()[figure],
            new=new.to_dict()[figure],
            flips=self.flips,
        )


def evenly(points: int) -> tuple[float, ...]:
    """Shares 0.0 to 1.0 in equal steps. points: >= 2."""
    if points < 2:
        raise InputError(f"a backfill curve needs at least 2 points, got {points}")
    return tuple(step / (points - 1) for step in range(points))


def evaluate_backfill(
    gallery: MixedGallery,
    relevance: Relevance,
    orders: Mapping[str, Any],
    shares: Sequence[float],
    *,
    exclude: Any = None,
) -> dict[str, Stages]:
    """Measure a strategy at each share, in each order. The scores are computed once for all.

    relevance: of all queries; its gallery is the whole one. orders: permutations by name.
    shares: at share s the first floor(s n) items of the order have moved.
    exclude: column of each query's own item, as `rank_scores` takes it.
    Raises InputError (an order that is none, no query with a relevant item), ShapeError.
    """
    checked = {name: check_order(order, relevance.gallery) for name, order in orders.items()}
    measure = _counted if gallery.merge is side_of_each else _sorted
    found: list[list[list[PerQuery]]] = [[[] for _ in shares] for _ in checked]
    for rows in chunks(len(relevance), relevance.gallery):
        own = None if exclude is None else np.asarray(exclude)[rows]
        part = relevance.take(rows)
        measured = measure(gallery, rows, part, list(checked.values()), shares, own)
        for stages, some in zip(found, measured, strict=True):
            for stage, figures in zip(stages, some, strict=True):
                stage.append(figures)
    return {
        name: Stages(tuple(shares), tuple(_joined(parts) for parts in stages))
        for name, stages in zip(checked, found, strict=True)
    }


def _counted(
    gallery: MixedGallery,
    rows: slice,
    relevance: Relevance,
    orders: list[NDArray[np.int64]],
    shares: Sequence[float],
    exclude: Any,
) -> list[list[PerQuery]]:
    """Figures of some queries by order and share, all stages of a query at once."""
    old, new = gallery.sides(rows)
    for side in (old, new):
        if np.isnan(side).any():
            raise InputError("scores hold NaN; check the vectors they were made from")
    left_out = np.full(len(relevance), -1) if exclude is None else exclude
    counter = StageRanks(orders, shares, relevance.gallery)
    found = []
    for query in range(len(relevance)):
        ranks = counter.of(old[query], new[query], relevance, query, int(left_out[query]))
        if ranks is not None:
            found.append((average_precision(ranks), hit_rate(ranks, 1), ndcg(ranks, NDCG_CUT)))
    precision, right, gain = (
        np.reshape([figures[which] for figures in found], (-1, len(orders), len(shares)))
        for which in range(3)
    )
    hit = right.astype(np.bool_)
    return [
        [
            PerQuery(precision[:, order, stage], hit[:, order, stage], gain[:, order, stage])
            for stage in range(len(shares))
        ]
        for order in range(len(orders))
    ]


def _sorted(
    gallery: MixedGallery,
    rows: slice,
    relevance: Relevance,
    orders: list[NDArray[np.int64]],
    shares: Sequence[float],
    exclude: Any,
) -> list[list[PerQuery]]:
    """Do the same for any merge: one ranking for each stage."""
    sides = gallery.sides(rows)
    found = []
    for order in orders:
        stages = []
        for share in shares:
            moved = np.zeros(len(order), dtype=np.bool_)
            moved[order[: int(share * len(order))]] = True
            stages.append(_figures(gallery.merge(*sides, moved), relevance, exclude))
        found.append(stages)
    return found


def evaluate_side(sides: Any, relevance: Relevance, *, exclude: Any = None) -> PerQuery:
    """Measure one system alone. sides: for a slice of queries, the scores of all items."""
    parts = []
    for rows in chunks(len(relevance), relevance.gallery):
        own = None if exclude is None else np.asarray(exclude)[rows]
        parts.append(_figures(sides(rows), relevance.take(rows), own))
    return _joined(parts)


def _figures(scores: Scores, relevance: Relevance, exclude: Any) -> PerQuery:
    ranks = rank_scores(scores, relevance, exclude=exclude, allow_none=True)
    return PerQuery(average_precision(ranks), hit_rate(ranks, 1), ndcg(ranks, NDCG_CUT))


def _joined(parts: list[PerQuery]) -> PerQuery:
    whole = PerQuery(
        np.concatenate([part.average_precision for part in parts]),
        np.concatenate([part.right for part in parts]),
        np.concatenate([part.ndcg for part in parts]),
    )
    if not len(whole.right):
        raise InputError(
            "no query has a relevant item in the gallery, so there is nothing to measure; "
            "check labels or judgements"
        )
    return whole


def chunks(queries: int, items: int) -> list[slice]:
    """Cut queries so that one chunk's matrix of scores stays within `MAX_CHUNK_BYTES`."""
    size = max(1, MAX_CHUNK_BYTES // (4 * max(items, 1)))
    return [slice(start, min(start + size, queries)) for start in range(0, queries, size)]
