"""Rows of a search as lists of hits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.stores.base import Hits

if TYPE_CHECKING:
    from collections.abc import Sequence


def hits_of(rows: Sequence[tuple[Any, ...]], number: int, n_queries: int) -> Hits:
    """Sort the hits of one side by query and score. rows: as `searching.search` says.

    The order of rows is not relied on: an index gives them nearly sorted, and parts of one
    statement may run at once.
    """
    found: list[list[tuple[float, str]]] = [[] for _ in range(n_queries)]
    for side, query, item_id, score in rows:
        if side == number and np.isfinite(score):  # the cosine of a zero vector is no number
            found[query - 1].append((-score, item_id))
    for each in found:
        each.sort(key=lambda hit: hit[0])
    return Hits(
        item_ids=tuple(tuple(item_id for _, item_id in each) for each in found),
        scores=tuple(np.array([-score for score, _ in each], dtype=np.float32) for each in found),
    )
