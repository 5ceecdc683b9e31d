"""A search of several sides that misses no item which moves during it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotfill.stores.base import Hits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qdrant_client import models

    from hotfill.stores.qdrant.collection import Collection
    from hotfill.stores.qdrant.stamp import Space
    from hotfill.types import Vectors


def search(
    collection: Collection,
    queries: Mapping[Space, Vectors],
    k: int,
    where: models.Filter | None,
) -> dict[Space, Hits]:
    """Search sides, given oldest first.

    A server answers one request after another, and items may move between two. Read oldest first,
    an item that moves forward is seen before or after its move, or both; the older sides are read
    again at the end for one that moves back. What a side gave twice is united, the later score
    counts.
    """
    if collection.local or len(queries) < 2:
        found = collection.search(queries, k, where)
    else:
        found = {}
        for space, rows in queries.items():
            found |= collection.search({space: rows}, k, where)
        older = dict(list(queries.items())[:-1])
        for space, again in collection.search(older, k, where).items():
            found[space] = [{**a, **b} for a, b in zip(found[space], again, strict=True)]
    return {space: _hits(lists, k) for space, lists in found.items()}


def _hits(lists: Sequence[Mapping[str, float]], k: int) -> Hits:
    best = [sorted(scores.items(), key=lambda pair: -pair[1])[:k] for scores in lists]
    return Hits(
        item_ids=tuple(tuple(item_id for item_id, _ in pairs) for pairs in best),
        scores=tuple(np.array([score for _, score in pairs], dtype=np.float32) for pairs in best),
    )
