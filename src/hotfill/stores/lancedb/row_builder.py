"""Whole rows, as one commit writes them.

Every write replaces whole rows: Lance marks the earlier ones as gone and puts the new ones into a
file of their own, which costs what the rows cost. A merge of some columns only would write these
columns anew for every file that holds one of the rows (measured with 0.40.0: slower from some
20,000 rows on).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError
from hotfill.stores.lancedb.layout import ORIGIN, SPACE, VERSION, kind_of, pa
from hotfill.stores.lancedb.snapshot import is_shown, vector_array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata, Scalar
    from hotfill.stores.lancedb.layout import LanceLayout
    from hotfill.types import ModelId, Vectors


def written_rows(
    layout: LanceLayout,
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
        columns.update(metadata_columns(layout, metadata, before.take(taken)))
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
    layout: LanceLayout, n: int, space: ModelId, origin: str, vectors: Vectors
) -> dict[str, Any]:
    """Return the columns that a move changes: the earlier vector stays, in the column it is in."""
    name = layout.columns[space]
    return {
        SPACE: pa.array([space.fingerprint] * n, pa.string()),
        ORIGIN: pa.array([origin] * n, pa.string()),
        name: vector_array(vectors, layout.schema.field(name).type),
    }


def metadata_columns(
    layout: LanceLayout, metadata: Sequence[Metadata], before: Any
) -> dict[str, Any]:
    """Return the columns of metadata for rows that have this metadata.

    before: the rows as they were, one for each, of nulls for a new one. What of them is no
    metadata stays: fields of other types, numbers that are none.
    Raises InputError for a value that its column cannot hold.
    """
    wanted = {
        path: [_of_kind(row.get(key), kind) for row in metadata]
        for key, kinds in layout.metadata.items()
        for kind, path in kinds.items()
    }
    return {
        name: _changed(
            layout.schema.field(name), before.column(name).combine_chunks(), _below(wanted, name)
        )
        for name in layout.metadata_columns()
    }


def _changed(column: Any, before: Any, wanted: Mapping[tuple[str, ...], list[Any]]) -> Any:
    """Return a column, or a field of structs, with other values.

    wanted: by the names of fields below it; () is the column itself.
    """
    if () in wanted:
        values = [
            old if new is None and old is not None and not is_shown(old) else new
            for new, old in zip(wanted[()], before.to_pylist(), strict=True)
        ]
        if not column.nullable and None in values:
            raise InputError(
                f"metadata: the column {column.name!r} must not be empty; give a value"
            )
        try:
            return pa.array(values, column.type)
        except (pa.ArrowException, OverflowError) as error:
            raise InputError(
                f"metadata: the column {column.name!r} is of type {column.type}, which cannot hold "
                f"what was given: {error}"
            ) from error
    fields = list(column.type)
    children = [
        _changed(inner, child, below) if (below := _below(wanted, inner.name)) else child
        for inner, child in zip(fields, before.flatten(), strict=True)
    ]
    given = np.array([[value is not None for value in values] for values in wanted.values()])
    empty = before.is_null().to_numpy(zero_copy_only=False) & ~given.any(axis=0)
    return pa.StructArray.from_arrays(children, fields=fields, mask=pa.array(empty))


def _below(
    wanted: Mapping[tuple[str, ...], list[Any]], name: str
) -> dict[tuple[str, ...], list[Any]]:
    return {path[1:]: values for path, values in wanted.items() if path[0] == name}


def _of_kind(value: Scalar | None, kind: str) -> Scalar | None:
    return value if value is not None and kind_of(value) == kind else None
