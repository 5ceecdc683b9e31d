"""Whether a table that is there already can be a gallery as it is. Looks, and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from psycopg import sql

from hotfill.errors import StoreError
from hotfill.stores.postgres.stamp import Space, Stamp
from hotfill.stores.postgres.values import ID_TYPES

if TYPE_CHECKING:
    from hotfill.stores.postgres.connections import Connection
    from hotfill.stores.postgres.stamp import Kind
    from hotfill.types import ModelId

_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, NULL), a.atttypmod, a.attnotnull, EXISTS (
    SELECT FROM pg_index x WHERE x.indrelid = a.attrelid AND x.indisunique AND x.indisvalid
    AND x.indnkeyatts = 1 AND x.indkey[0] = a.attnum AND x.indpred IS NULL
) FROM pg_attribute a WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table hotfill uses."""

    item_id: str
    vector: str
    metadata: str | None


def look(
    connection: Connection,
    model: ModelId,
    named: Columns,
    *,
    schema: str,
    table: str,
    half: bool,
) -> Stamp:
    """Return the stamp that fits a table. Raises StoreError naming what does not fit."""
    quoted = sql.Identifier(schema, table).as_string()
    id_column, vector_column, metadata_column = named.item_id, named.vector, named.metadata
    columns = {row[0]: row[1:] for row in connection.execute(_COLUMNS, (quoted,)).fetchall()}
    if not columns:
        raise StoreError(f"there is no table {quoted}, or you may not see it")
    for name in (id_column, vector_column, metadata_column):
        if name is not None and name not in columns:
            raise StoreError(f"{quoted} has no column {name!r}; it has {', '.join(columns)}")
    id_type, _, not_null, unique = columns[id_column]
    if id_type not in ID_TYPES or not (not_null and unique):
        raise StoreError(
            f"{quoted}: the id column {id_column!r} must be of type {', '.join(ID_TYPES)}, never "
            f"empty, and unique by an index of its own (a primary key is); it is {id_type}"
            f"{'' if not_null else ', may be empty'}{'' if unique else ', has no such index'}"
        )
    kind, dimension, _, _ = columns[vector_column]
    kind = kind.rpartition(".")[2]
    if kind not in ("vector", "halfvec") or dimension != model.dimension:
        shown = f"{kind}({dimension})" if dimension > 0 else kind
        raise StoreError(
            f"{quoted}: the vectors of {model} need a column of type vector({model.dimension}) or "
            f"halfvec({model.dimension}); {vector_column!r} is {shown}"
        )
    if metadata_column is not None and columns[metadata_column][0] != "jsonb":
        raise StoreError(
            f"{quoted}: metadata needs a column of type jsonb; {metadata_column!r} is "
            f"{columns[metadata_column][0]}"
        )
    return Stamp(
        schema=schema,
        table=table,
        id_column=id_column,
        id_type=id_type,
        metadata_column=metadata_column,
        spaces=(Space(model, 1, vector_column, cast("Kind", kind)),),
        next_number=2,
        prepared=False,
        counted=False,
        half=half,
    )
