"""Reciprocal rank fusion: the baseline that looks at ranks only.

Source: Cormack, Clarke, Büttcher 2009 (k = 60). During an upgrade it takes half of its list from
each side whatever share has been moved, so quality falls below the old model; it is here to be
compared with, not to be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotfill.errors import InputError
from hotfill.scoring.rank_merge import RankedHits, SideHits, rank_merge

if TYPE_CHECKING:
    from collections.abc import Sequence


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
