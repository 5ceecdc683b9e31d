"""A table that is there becomes a gallery: looked at, stamped, and only later prepared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotfill.errors import StoreError
from hotfill.stores.lancedb.failures import translated
from hotfill.stores.lancedb.layout import (
    ID_ROLE,
    MODEL_NOTE,
    ORIGIN,
    OWN,
    ROLE_NOTE,
    SPACE,
    VERSION,
    layout_of,
    notes,
    pa,
    quoted,
    stamp,
)

if TYPE_CHECKING:
    from hotfill.stores.lancedb.layout import Layout
    from hotfill.types import ModelId


def stamp_table(
    table: Any, model: ModelId, *, name: str, id_column: str, vector_column: str
) -> None:
    """Note at two columns of a table what they are; nothing else of it changes.

    Raises StoreError naming what does not fit. Idempotent.
    """
    schema = table.schema
    if any(MODEL_NOTE in notes(column) for column in schema):
        layout = layout_of(schema, name)
        if model not in layout.spaces:
            raise StoreError(
                f"the table {name} is stamped with {', '.join(map(str, layout.spaces))} already; "
                f"to get it to {model}, start an upgrade"
            )
        return
    for wanted in (id_column, vector_column):
        if wanted not in schema.names:
            raise StoreError(
                f"the table {name} has no column {wanted!r}; it has {', '.join(schema.names)}"
            )
    _check_ids(table, schema.field(id_column), name)
    _check_vectors(schema.field(vector_column), model, name)
    strange = [own for own in OWN if own in schema.names]
    if strange:
        raise StoreError(f"the table {name} has a column {strange[0]!r}, a name that hotfill uses")
    with translated("stamp the table"):
        table.update_field_metadata({"path": id_column, "metadata": {ROLE_NOTE: ID_ROLE}})
        table.update_field_metadata({"path": vector_column, "metadata": stamp(model, 1)})


def prepare(table: Any, layout: Layout) -> None:
    """Add hotfill's columns to a table as it was found.

    A crash may cut this anywhere: the last column tells that all is done; idempotent.
    """
    model = layout.spaces[0]
    there = table.schema.names
    fresh = {VERSION: "cast(0 as bigint)", SPACE: f"'{model.fingerprint}'"}
    with translated("add columns to the table"):
        missing = {name: value for name, value in fresh.items() if name not in there}
        if missing:
            table.add_columns(missing)
        empty = f"{quoted(layout.columns[model])} IS NULL"
        if table.count_rows(empty):  # rows without a vector are no items
            table.update(where=empty, values={SPACE: ""})
        table.add_columns({ORIGIN: f"'{model.fingerprint}'"})


def _check_ids(table: Any, column: Any, name: str) -> None:
    textual = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not textual and not pa.types.is_signed_integer(column.type):
        raise StoreError(
            f"the table {name}: ids are texts or whole numbers; the column {column.name!r} is of "
            f"type {column.type}"
        )
    with translated("look at the ids"):
        rows = table.count_rows()
        ids = table.search().select([column.name]).limit(max(rows, 1)).to_arrow()
    ids = ids.column(column.name)
    if ids.null_count or len(ids.unique()) != len(ids):
        raise StoreError(
            f"the table {name}: each row needs an id of its own; in the column {column.name!r} "
            f"{ids.null_count} are empty and {len(ids) - len(ids.unique())} repeat another"
        )


def _check_vectors(column: Any, model: ModelId, name: str) -> None:
    kind = column.type
    fits = (
        pa.types.is_fixed_size_list(kind)
        and kind.list_size == model.dimension
        and (pa.types.is_float32(kind.value_type) or pa.types.is_float16(kind.value_type))
    )
    if not fits:
        raise StoreError(
            f"the table {name}: the vectors of {model} need a column of type "
            f"fixed_size_list<float>[{model.dimension}]; {column.name!r} is {kind}"
        )
