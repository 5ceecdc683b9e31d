"""One version of the table, and what is read from it: rows, states, vectors, counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError
from hotfill.extras import need
from hotfill.stores.base import Found, Hits, ItemState, Page
from hotfill.stores.lancedb.client import translated
from hotfill.stores.lancedb.filter import after_sql, ids_sql, is_number, where_sql
from hotfill.stores.lancedb.layout import LARGEST, ORIGIN, OWN, SPACE, VERSION, kind_of, pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Where
    from hotfill.stores.lancedb.layout import LanceLayout
    from hotfill.types import Metric, ModelId, Vectors


_AT_ONCE = 2_000  # ids in one condition


@dataclass(frozen=True, slots=True)
class TableSnapshot:
    """One version of the table, open: whoever reads sees this moment from beginning to end.

    indexed: columns of vectors with an index that compares as their space does, and how many of
        its parts a search looks into.
    """

    table: Any
    layout: LanceLayout
    indexed: Mapping[str, int]
    _counts: dict[str, int] = field(default_factory=dict)

    def rows(
        self, item_ids: Sequence[str], columns: Sequence[str], condition: str | None = None
    ) -> Any:
        """Read rows of items as an Arrow table, in any order; items that are not there are absent.

        condition: that rows must meet besides.
        """
        schema = pa.schema([self.layout.schema.field(name) for name in columns])
        parts = [schema.empty_table()]
        for start in range(0, len(item_ids), _AT_ONCE):
            wanted = ids_sql(self.layout, item_ids[start : start + _AT_ONCE])
            if condition is not None:
                wanted = f"({wanted}) AND ({condition})"
            parts.append(self.select(wanted, columns, limit=_AT_ONCE))
        return pa.concat_tables([part.select(columns).cast(schema) for part in parts])

    def select(self, condition: str, columns: Sequence[str], *, limit: int) -> Any:
        """Read columns of at most `limit` rows that meet a condition."""
        with translated("read items"):
            query = self.table.search().where(condition).select(list(columns)).limit(limit)
            return query.to_arrow()

    def places(self, rows: Any) -> dict[str, int]:
        """Tell at which row of a table that was read each item stands."""
        ids = rows.column(self.layout.item_id).to_pylist()
        return {str(item_id): place for place, item_id in enumerate(ids)}

    def count(self, condition: str) -> int:
        """Count the rows that meet a condition, and remember: this version does not change."""
        known = self._counts.get(condition)
        if known is None:
            with translated("count items"):
                known = self._counts[condition] = int(self.table.count_rows(condition))
        return known

    def states(self, item_ids: Sequence[str]) -> list[ItemState | None]:
        """Read the state of items, in the order asked."""
        layout = self.layout
        own = OWN if layout.prepared else ()
        metadata = layout.metadata_columns()
        rows = self.rows(item_ids, [layout.item_id, *own, *metadata], layout.items())
        content = metadata_of(layout, rows)
        versions, spaces, origins = (column.tolist() for column in self.own_columns(rows))
        places = self.places(rows)
        found: list[ItemState | None] = []
        for item_id in item_ids:
            place = places.get(item_id)
            found.append(
                None
                if place is None
                else ItemState(
                    item_id,
                    versions[place],
                    layout.model(spaces[place]),
                    origins[place],
                    content[place],
                )
            )
        return found

    def own_columns(self, rows: Any) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]:
        """Return versions, spaces (fingerprints) and origins of rows that were read."""
        if self.layout.prepared:
            versions = rows.column(VERSION).to_numpy().astype(np.int64)
            spaces, origins = (
                np.array(rows.column(name).to_pylist(), dtype=object) for name in (SPACE, ORIGIN)
            )
            return versions, spaces, origins
        only = np.full(len(rows), self.layout.spaces[0].fingerprint, dtype=object)
        return np.zeros(len(rows), dtype=np.int64), only, only

    def found(self, item_ids: Sequence[str], space: ModelId) -> Found:
        """Read vectors of items in a space, searched or kept."""
        layout, column = self.layout, self.layout.columns[space]
        own = [VERSION] if layout.prepared else []
        rows = self.rows(
            item_ids,
            [layout.item_id, *own, column],
            f"({layout.items()}) AND `{column}` IS NOT NULL",
        )
        places = self.places(rows)
        there = [item_id for item_id in item_ids if item_id in places]
        order = [places[item_id] for item_id in there]
        versions = rows.column(VERSION).to_numpy() if own else np.zeros(len(rows))
        vectors = vectors_of(rows.column(column), space)[order]
        return Found(tuple(there), versions[order].astype(np.int64), vectors).usable(space)


def vectors_of(column: Any, space: ModelId) -> Vectors:
    """Return a column of vectors without gaps as an array."""
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    flat = np.concatenate(chunks) if chunks else np.empty(0)
    rows: Vectors = flat.astype(np.float32).reshape(-1, space.dimension)
    return rows


def vector_array(vectors: Vectors, type_: Any) -> Any:
    """Return vectors as an Arrow array of a column's type."""
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, type_.list_size).cast(type_)


def metadata_of(layout: LanceLayout, rows: Any) -> list[dict[str, Any]]:
    """Return the metadata of rows that were read."""
    content: list[dict[str, Any]] = [{} for _ in range(len(rows))]
    for key, value, place in _values(layout, rows):
        content[place][key] = value
    return content


def _values(layout: LanceLayout, rows: Any) -> Iterator[tuple[str, Any, int]]:
    for key, kinds in layout.metadata.items():
        for path in kinds.values():
            for place, value in enumerate(values_at(rows, path)):
                if is_shown(value):
                    yield key, value, place


def values_at(rows: Any, path: Sequence[str]) -> list[Any]:
    """Return the values of a column, or of a field of structs in it."""
    values: list[Any] = rows.column(path[0]).to_pylist()
    for name in path[1:]:
        values = [None if value is None else value[name] for value in values]
    return values


def is_shown(value: Any) -> bool:
    """Tell whether a stored value is metadata: what a user could not write is not shown."""
    return value is not None and not (
        isinstance(value, (int, float)) and not abs(value) <= LARGEST[kind_of(value)]  # NaN
    )


# Searches ----------------------------------------------------------------------------------------

_DISTANCE = "_distance"


def search_side(
    snapshot: TableSnapshot,
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
        query = query.distance_type(layout.comparison(space)).limit(k)
        query = query.where(" AND ".join(f"({each})" for each in conditions), prefilter=True)
        query = query.select([layout.item_id, *([ORIGIN] if layout.prepared else ()), _DISTANCE])
        if exact or column not in snapshot.indexed:
            query = query.bypass_vector_index()
        else:
            query = query.nprobes(snapshot.indexed[column])
        return _hits(query.to_arrow(), layout, len(queries), space)


def _hits(rows: Any, layout: LanceLayout, n_queries: int, space: ModelId) -> Hits:
    ids = np.array([str(each) for each in rows.column(layout.item_id).to_pylist()], dtype=object)
    origins = np.full(len(ids), space.fingerprint, dtype=object)
    if layout.prepared:
        origins = np.array(rows.column(ORIGIN).to_pylist(), dtype=object)
    scores = _scores(rows.column(_DISTANCE).to_numpy(), space.metric)
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
        origins=tuple(tuple(origins[there].tolist()) for there in lists),
    )


def _scores(distances: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    """Turn the engine's distances, lower is better, into scores."""
    if metric == "l2":
        return (-np.sqrt(np.maximum(distances, 0))).astype(np.float32)  # it gives the square
    return (1 - distances).astype(np.float32)


# Walks -------------------------------------------------------------------------------------------
# The engine finds the next ids in order by looking at all of them. So one look serves many pages:
# it takes the next ids of the side, and each page then reads the rows of its own few.

_AHEAD = 100_000  # ids kept in memory


class Walk:
    """The ids that come next in the walk that was looked at last. Stores hold their lock."""

    def __init__(self) -> None:
        self._space: ModelId | None = None
        self._after: str | None = None  # where the first of the ids follows
        self._ids: list[str] = []
        self._more = False  # whether ids follow after the last one

    def page(self, snapshot: TableSnapshot, space: ModelId, after: str | None, limit: int) -> Page:
        """List the next items, in the order of ids."""
        layout = snapshot.layout
        if after is not None and layout.ids_are_numbers and not is_number(after):
            raise InputError(f"after: {after!r} is not a cursor that scan returned")
        known = after is not None and after == self._after and space == self._space
        if not known or (len(self._ids) < limit and self._more):
            self._look(snapshot, space, after, max(limit, _AHEAD))
        ids, self._ids = self._ids[:limit], self._ids[limit:]
        self._after = ids[-1] if ids else after
        ended = not self._ids and not self._more
        rows = snapshot.rows(
            ids, [layout.item_id, *(OWN if layout.prepared else ())], layout.side(space)
        )
        places = snapshot.places(rows)
        there = [item_id for item_id in ids if item_id in places]
        order = [places[item_id] for item_id in there]
        versions, _, origins = snapshot.own_columns(rows)
        return Page(
            item_ids=tuple(there),
            versions=versions[order],
            origins=tuple(origins[order].tolist()),
            cursor=None if ended else self._after,
        )

    def _look(self, snapshot: TableSnapshot, space: ModelId, after: str | None, n: int) -> None:
        ordering = need("lancedb.query", "lancedb").ColumnOrdering
        layout = snapshot.layout
        condition = layout.side(space)
        if after is not None:
            condition = f"({condition}) AND {after_sql(layout, after)}"
        by_id = ordering(column_name=layout.item_id, ascending=True, nulls_first=False)
        with translated("list items"):
            query = snapshot.table.search().where(condition).select([layout.item_id])
            rows = query.order_by([by_id]).limit(n).to_arrow()
        self._space, self._after = space, after
        self._ids = [str(item_id) for item_id in rows.column(layout.item_id).to_pylist()]
        self._more = len(self._ids) == n
