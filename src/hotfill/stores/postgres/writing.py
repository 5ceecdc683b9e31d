"""The statements that write items. Callers give ids sorted, so that writers do not deadlock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from hotfill.stores.postgres import names
from hotfill.stores.postgres.stamp import ORIGIN, SPACE, VERSION
from hotfill.stores.postgres.statement import Statement, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hotfill.stores.postgres.stamp import Space, Stamp
    from hotfill.stores.postgres.wire import Binary

_UPSERT = """, given AS (
    SELECT g.* FROM (SELECT unnest(%(ids)s::text[])::{type} AS id{arrays}) g, stamp
), changed AS (
    UPDATE {items} i SET {sets} FROM given g WHERE i.{key} = g.id
    RETURNING {id} AS id, i.{version} AS version
), added AS (
    INSERT INTO {items} AS i ({key}, {columns})
    SELECT g.id, {values} FROM given g WHERE g.id::text NOT IN (SELECT id FROM changed)
    ON CONFLICT ({key}) DO UPDATE SET {excluded}
    RETURNING {id} AS id, i.{version} AS version
)"""

_MOVE = """, given AS (
    SELECT g.* FROM (
        SELECT unnest(%(ids)s::text[])::{type} AS id, unnest(%(versions)s::int8[]) AS version,
            unnest(%(rows)s::{kind}[]) AS v
    ) g, stamp
), moved AS (
    UPDATE {items} i SET {space_column} = {number}, {origin_column} = %(origin)s, {column} = g.v
    FROM given g
    WHERE i.{key} = g.id AND {version} = g.version AND {item} AND NOT (
        {space} = {number} AND {origin} = %(own)s AND {origin} <> %(origin)s
    )
    RETURNING {id} AS id
)"""

_SET_METADATA = """, changed AS (
    UPDATE {items} i SET {metadata} = g.content::jsonb
    FROM (SELECT unnest(%(ids)s::text[])::{type} AS id, unnest(%(metadata)s::text[]) AS content) g,
        stamp
    WHERE i.{key} = g.id AND {item}
)"""

_DELETE = """, gone AS (
    DELETE FROM {items} i USING (SELECT unnest(%(ids)s::text[])::{type} AS id) g, stamp
    WHERE i.{key} = g.id AND {item} RETURNING 1
)"""


def upsert(
    stamp: Stamp,
    space: Space,
    item_ids: Sequence[str],
    vectors: Mapping[Space, Binary],
    metadata: Sequence[str] | None,
) -> Statement:
    """Write items; rows are their ids and new versions. vectors: in `space`, and retired ones."""
    columns: dict[str, sql.Composable] = {
        VERSION: sql.SQL("nextval({})").format(
            sql.Literal(names.versions(stamp.schema).as_string())
        ),
        SPACE: sql.Literal(space.number),
        ORIGIN: sql.Literal(space.model.fingerprint),
    }
    arrays = []
    values: dict[str, Any] = {"ids": list(item_ids)}
    for each in stamp.spaces:
        if each in vectors:
            name = f"vectors_{each.number}"
            values[name] = vectors[each]
            arrays.append(_array(name, each.kind))
            columns[each.column] = sql.SQL("g.{}").format(sql.Identifier(name))
        else:
            columns[each.column] = sql.SQL("NULL")  # a retired vector of the earlier content
    if metadata is not None and stamp.metadata_column is not None:
        values["metadata"] = list(metadata)
        arrays.append(_array("metadata", "text"))
        columns[stamp.metadata_column] = sql.SQL("g.metadata::jsonb")
    fixed = {name: sql.Identifier(name) for name in columns}
    steps = sql.SQL(_UPSERT).format(
        **{**parts_of(stamp), "version": sql.Identifier(VERSION)},
        arrays=sql.SQL("").join(sql.SQL(", ") + array for array in arrays),
        sets=_list(sql.SQL("{} = {}").format(fixed[name], columns[name]) for name in columns),
        columns=_list(fixed.values()),
        values=_list(columns.values()),
        excluded=_list(sql.SQL("{0} = excluded.{0}").format(name) for name in fixed.values()),
    )
    rows = sql.SQL("SELECT * FROM changed UNION ALL SELECT * FROM added")
    return Statement(rows, values, steps)


def move(
    stamp: Stamp,
    space: Space,
    item_ids: Sequence[str],
    vectors: Binary,
    versions: Sequence[int],
    origin: str,
) -> Statement:
    """Let items be searched elsewhere if their version is the expected one; rows are their ids."""
    steps = sql.SQL(_MOVE).format(
        **parts_of(stamp),
        kind=sql.SQL(space.kind),
        space_column=sql.Identifier(SPACE),
        origin_column=sql.Identifier(ORIGIN),
        column=sql.Identifier(space.column),
        number=sql.Literal(space.number),
    )
    values = {
        "ids": list(item_ids),
        "versions": list(versions),
        "rows": vectors,
        "origin": origin,
        "own": space.model.fingerprint,
    }
    return Statement(sql.SQL("SELECT id FROM moved"), values, steps)


def set_metadata(stamp: Stamp, item_ids: Sequence[str], metadata: Sequence[str]) -> Statement:
    """Replace metadata; no rows."""
    steps = sql.SQL(_SET_METADATA).format(
        **parts_of(stamp), metadata=sql.Identifier(stamp.metadata_column or "")
    )
    values = {"ids": list(item_ids), "metadata": list(metadata)}
    return Statement(sql.SQL("SELECT WHERE false"), values, steps)


def delete(stamp: Stamp, item_ids: Sequence[str]) -> Statement:
    """Delete items; the one row is how many there were."""
    steps = sql.SQL(_DELETE).format(**parts_of(stamp))
    return Statement(sql.SQL("SELECT count(*) FROM gone"), {"ids": list(item_ids)}, steps)


def _array(name: str, kind: str) -> sql.Composable:
    return sql.SQL("unnest({}::{}[]) AS {}").format(
        sql.Placeholder(name), sql.SQL(kind), sql.Identifier(name)
    )


def _list(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
