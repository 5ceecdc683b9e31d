"""Whole rows, as one commit writes them.

Every write replaces whole rows: Lance marks the earlier ones as gone and puts the new ones into a
file of their own, which costs what the rows cost. A merge of some columns only would write these
columns anew for every file that holds one of the rows (measured with 0.40.0: slower from some
20,000 rows on).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.stores.lancedb.layout import ORIGIN, SPACE, VERSION, kind_of, pa
from hotfill.stores.lancedb.reading import vector_array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata, Scalar
    from hotfill.stores.lancedb.layout import Layout
    from hotfill.types import ModelId, Vectors


def written_rows(
    layout: Layout,
    item_ids: Sequence[str],
    before: Any,
    places: Mapping[str, int],
    *,
    versions: NDArray[np.int64],
    space: ModelId,
    vectors: Mapping[ModelId, Vectors],
    metadata: Sequence[Metadata] | None,
) -> Any:
    """Put together the rows of items with new content.

    before: the other columns of those that exist; places: at which of its rows.
    vectors: those of the content, per space; an item has no others afterwards.
    """
    n = len(item_ids)
    taken = pa.array([places.get(item_id) for item_id in item_ids], pa.int64())
    id_type = layout.schema.field(layout.item_id).type
    ids = [int(item_id) for item_id in item_ids] if layout.ids_are_numbers else list(item_ids)
    columns: dict[str, Any] = {
        layout.item_id: pa.array(ids, id_type),
        VERSION: pa.array(versions, pa.int64()),
        SPACE: pa.array([space.fingerprint] * n, pa.string()),
        ORIGIN: pa.array([space.fingerprint] * n, pa.string()),
    }
    for model, name in layout.columns.items():
        type_ = layout.schema.field(name).type
        columns[name] = (
            vector_array(vectors[model], type_) if model in vectors else pa.nulls(n, type_)
        )
    if metadata is not None:
        columns.update(metadata_columns(layout, metadata))
    for name in layout.schema.names:
        if name not in columns:
            columns[name] = before.column(name).take(taken)
    return pa.table([columns[name] for name in layout.schema.names], schema=layout.schema)


def replaced(rows: Any, columns: Mapping[str, Any]) -> Any:
    """Return rows with other values in some columns."""
    for name, values in columns.items():
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), values)
    return rows


def moved_columns(
    layout: Layout, n: int, space: ModelId, origin: str, vectors: Vectors
) -> dict[str, Any]:
    """Return the columns that a move changes: the earlier vector stays, in the column it is in."""
    name = layout.columns[space]
    return {
        SPACE: pa.array([space.fingerprint] * n, pa.string()),
        ORIGIN: pa.array([origin] * n, pa.string()),
        name: vector_array(vectors, layout.schema.field(name).type),
    }


def metadata_columns(layout: Layout, metadata: Sequence[Metadata]) -> dict[str, Any]:
    """Return the columns of metadata for rows that have only this metadata."""
    return {
        name: pa.array(
            [_of_kind(row.get(key), kind) for row in metadata], layout.schema.field(name).type
        )
        for key, kinds in layout.metadata.items()
        for kind, name in kinds.items()
    }


def _of_kind(value: Scalar | None, kind: str) -> Scalar | None:
    return value if value is not None and kind_of(value) == kind else None
