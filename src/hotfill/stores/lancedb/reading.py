"""One version of the table, and what is read from it: rows, states, vectors, counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.stores.base import Found, ItemState
from hotfill.stores.lancedb.conditions import ids_sql
from hotfill.stores.lancedb.failures import translated
from hotfill.stores.lancedb.layout import ORIGIN, OWN, SPACE, VERSION, kind_of_type, pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.lancedb.layout import Layout
    from hotfill.types import ModelId, Vectors

_AT_ONCE = 2_000  # ids in one condition


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of the table, open: whoever reads sees this moment from beginning to end.

    indexed: columns of vectors with an index that compares as their space does, and how many of
        its parts a search looks into.
    """

    table: Any
    layout: Layout
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
        """Read vectors of items in a space, searched or retired."""
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
        if space.metric == "cosine":  # those of an adopted table may have any length
            lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
            vectors = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return Found(tuple(there), versions[order].astype(np.int64), vectors)


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


def metadata_of(layout: Layout, rows: Any) -> list[dict[str, Any]]:
    """Return the metadata of rows that were read."""
    content: list[dict[str, Any]] = [{} for _ in range(len(rows))]
    for key, value, place in _values(layout, rows):
        content[place][key] = value
    return content


def _values(layout: Layout, rows: Any) -> Iterator[tuple[str, Any, int]]:
    for key, kinds in layout.metadata.items():
        for name in kinds.values():
            for place, value in enumerate(rows.column(name).to_pylist()):
                if value is not None and kind_of_type(rows.schema.field(name).type) is not None:
                    yield key, value, place
