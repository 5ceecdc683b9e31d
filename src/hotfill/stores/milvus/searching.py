"""A search of one side, and its distances as scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotfill.stores.base import Hits
from hotfill.stores.milvus.conditions import where_expression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Where
    from hotfill.stores.milvus.server import Server
    from hotfill.stores.milvus.stamp import Space
    from hotfill.types import Vectors


def search_side(
    server: Server, space: Space, queries: Vectors, k: int, where: Where | None
) -> Hits:
    """Find the k best items of a side for each query."""
    condition = where_expression(where, adopted=space.adopted) if where else ""
    lists = server.search(space, queries, k, condition) if len(queries) else []
    return Hits(
        item_ids=tuple(tuple(item_id for item_id, _ in found) for found in lists),
        scores=tuple(_scores([d for _, d in found], space.metric) for found in lists),
    )


def _scores(distances: Sequence[float], metric: str) -> NDArray[np.float32]:
    values = np.array(distances, dtype=np.float32)
    # Milvus's L2 is the square of the distance.
    return -np.sqrt(np.maximum(values, 0)) if metric == "L2" else values
