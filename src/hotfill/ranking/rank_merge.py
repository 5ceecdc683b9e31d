"""Distance rank merge: one ranked list from several sides, by comparable scores.

Source: Seo et al., "Metric Compatible Training for Online Backfilling in Large-Scale Retrieval"
(WACV 2025); ranked-list form as in section 2.2 of the method notes [from memory of the paper]. The
sides are disjoint, so the k best of every side hold the k best of all: no side needs more than k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import InputError, ShapeError
from hotfill.ties import best_first

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class SideHits:
    """What one side found for one query, best first.

    scores: comparable with those of the other sides, higher is better, shape (n,).
    raw_scores: as the store gave them, shape (n,).
    """

    item_ids: Sequence[str]
    scores: NDArray[np.float32]
    raw_scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RankedHits:
    """One ranked list over all sides, best first.

    scores: comparable, float32 (n,), never rising. raw_scores: float32 (n,), each on its side's
    own scale. sides: int64 (n,), position of the hit's side among those given.
    """

    item_ids: tuple[str, ...]
    scores: NDArray[np.float32]
    raw_scores: NDArray[np.float32]
    sides: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.item_ids)


def rank_merge(sides: Sequence[SideHits], k: int) -> RankedHits:
    """Merge what the sides found for one query into the k best.

    sides: oldest first, as `Gallery.spaces`. An item found on several, because it moved during
        the search, counts on the newest only.
    k: >= 1. Fewer hits come back where there are fewer.
    Equal scores, which are those that differ by no more than rounding (see `hotfill.ties`), are
    ordered by the rank within their side, where a gallery puts the model's own vectors before
    those a transform made, and then by item id; never by side, which would favour one model.
    Raises InputError (no side, k < 1, a score that is NaN), ShapeError (lengths differ).
    """
    if not sides or k < 1:
        raise InputError(f"rank_merge needs at least one side and k >= 1, got {len(sides)}, k={k}")
    kept = _newest_only(sides)
    ids = [item_id for side in kept for item_id in side.item_ids]
    scores = np.concatenate([side.scores for side in kept]).astype(np.float32, copy=False)
    raw = np.concatenate([side.raw_scores for side in kept]).astype(np.float32, copy=False)
    if len(scores) != len(ids) or len(raw) != len(ids):
        raise ShapeError(f"{len(ids)} items came with {len(scores)} and {len(raw)} scores")
    if np.isnan(scores).any():
        raise InputError("a comparable score is NaN; were the queries calibrated for these sides?")
    lengths = [len(side.item_ids) for side in kept]
    ranks = np.concatenate([np.arange(length) for length in lengths])
    best = best_first(scores, lambda rows: [(int(ranks[row]), ids[row]) for row in rows])[:k]
    return RankedHits(
        item_ids=tuple(ids[row] for row in best.tolist()),
        scores=np.minimum.accumulate(scores[best]),  # equal ones may stand the other way round
        raw_scores=raw[best],
        sides=np.repeat(np.arange(len(kept)), lengths)[best],
    )


def _newest_only(sides: Sequence[SideHits]) -> list[SideHits]:
    """Drop from each side the items that a newer side holds."""
    kept: list[SideHits] = []
    newer: set[str] = set()
    for side in reversed(sides):
        if not newer.isdisjoint(side.item_ids):
            rows = [row for row, item_id in enumerate(side.item_ids) if item_id not in newer]
            side = SideHits(
                [side.item_ids[row] for row in rows], side.scores[rows], side.raw_scores[rows]
            )
        newer.update(side.item_ids)
        kept.append(side)
    return kept[::-1]


# Reciprocal rank fusion: the baseline that looks at ranks only -----------------------------------
# Source: Cormack, Clarke, Büttcher 2009 (k = 60). During an upgrade it takes half of its list from
# each side whatever share has been moved, so quality falls below the old model; it is here to be
# compared with, not to be used.


def reciprocal_rank_fusion(
    sides: Sequence[SideHits], k: int, *, constant: float = 60.0
) -> RankedHits:
    """Merge by 1 / (constant + rank), rank from 1 within each side.

    Takes and gives what `rank_merge` does; `scores` of the result are the reciprocal ranks. The
    sides are disjoint, so no item gains from two lists; equal ranks are ordered by item id.
    constant: > -1.
    """
    if not constant > -1:
        raise InputError(f"the constant of rank fusion must be above -1, got {constant}")
    by_rank = [
        SideHits(
            side.item_ids,
            (1.0 / (constant + np.arange(1, len(side.item_ids) + 1))).astype(np.float32),
            side.raw_scores,
        )
        for side in sides
    ]
    return rank_merge(by_rank, k)
