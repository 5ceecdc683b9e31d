"""A search of one side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.stores.base import Hits
from hotfill.stores.lancedb.conditions import where_sql
from hotfill.stores.lancedb.failures import translated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.stores.base import Where
    from hotfill.stores.lancedb.reading import Snapshot
    from hotfill.types import Metric, ModelId, Vectors

DISTANCES: dict[Metric, str] = {"cosine": "cosine", "dot": "dot", "l2": "l2"}
_DISTANCE = "_distance"


def search_side(
    snapshot: Snapshot,
    space: ModelId,
    queries: Vectors,
    k: int,
    where: Where | None,
    *,
    exact: bool,
) -> Hits:
    """Find the k best items of a side for each query."""
    layout = snapshot.layout
    if not len(queries):
        return Hits((), ())
    column = layout.columns[space]
    conditions = [layout.side(space), *(where_sql(layout, where) if where else ())]
    with translated("search"):
        query = snapshot.table.search(queries, vector_column_name=column)
        query = query.distance_type(DISTANCES[space.metric]).limit(k)
        query = query.where(" AND ".join(f"({each})" for each in conditions), prefilter=True)
        query = query.select([layout.item_id, _DISTANCE])
        if exact or column not in snapshot.indexed:
            query = query.bypass_vector_index()
        else:
            query = query.nprobes(snapshot.indexed[column])
        return _hits(query.to_arrow(), layout.item_id, len(queries), space.metric)


def _hits(rows: Any, item_id: str, n_queries: int, metric: Metric) -> Hits:
    ids = np.array([str(each) for each in rows.column(item_id).to_pylist()], dtype=object)
    scores = _scores(rows.column(_DISTANCE).to_numpy(), metric)
    numbers = np.zeros(len(ids), dtype=np.int64)
    if "query_index" in rows.column_names:
        numbers = rows.column("query_index").to_numpy()
    fine = np.isfinite(scores)  # the cosine of a zero vector in an adopted table is no number
    lists = []
    for query in range(n_queries):
        there = np.flatnonzero((numbers == query) & fine)
        lists.append(there[np.argsort(-scores[there], kind="stable")])
    return Hits(
        item_ids=tuple(tuple(ids[there].tolist()) for there in lists),
        scores=tuple(scores[there] for there in lists),
    )


def _scores(distances: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    """Turn the engine's distances, lower is better, into scores."""
    if metric == "l2":
        return (-np.sqrt(np.maximum(distances, 0))).astype(np.float32)  # it gives the square
    return (1 - distances).astype(np.float32)
