"""Indexes of sides, built late and without holding anybody up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from hotfill.stores.postgres import names
from hotfill.stores.postgres.searching import is_indexed_by_halves

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.stores.postgres.connections import Connection
    from hotfill.stores.postgres.stamp import Space, Stamp
    from hotfill.types import ModelId

INDEXED_FROM = 10_000
"""Items; fewer are compared one by one as quickly."""
_LONGEST = {"vector": 2000, "halfvec": 4000}  # dimensions that pgvector 0.8 indexes
_OPERATORS = {"cosine": "cosine", "dot": "ip", "l2": "l2"}
_LOCK = 0x686F7467  # "hotg": one process at a time builds


def optimise(
    connection: Connection, stamp: Stamp, sizes: Mapping[ModelId, int], *, exact: bool
) -> None:
    """Build missing indexes, drop useless ones, vacuum. connection: in autocommit mode.

    Does nothing while another process is at it.
    """
    connection.execute("SET statement_timeout = 0")
    key = (_LOCK, names.items(stamp).as_string())
    (mine,) = connection.execute(
        "SELECT pg_try_advisory_lock(%s, hashtext(%s))", key
    ).fetchone() or (False,)
    if not mine:
        return
    try:
        for space in stamp.spaces:
            size = sizes.get(space.model, 0)
            built = _is_built(connection, stamp, space)
            wanted = size >= INDEXED_FROM and not exact and _can_be_indexed(space)
            if built is False or (built and size == 0):
                connection.execute(
                    sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(
                        names.index(stamp, space)
                    )
                )
            if wanted and not built:
                _build(connection, stamp, space)
        connection.execute(sql.SQL("VACUUM (ANALYZE, SKIP_LOCKED) {}").format(names.items(stamp)))
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", key)


def _is_built(connection: Connection, stamp: Stamp, space: Space) -> bool | None:
    """Tell whether the index is there; False when its making was cut short, None without one."""
    row = connection.execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)",
        (names.index(stamp, space).as_string(),),
    ).fetchone()
    return None if row is None else bool(row[0])


def _can_be_indexed(space: Space) -> bool:
    kind = "halfvec" if is_indexed_by_halves(space) else space.kind
    return space.model.dimension <= _LONGEST[kind]


def _build(connection: Connection, stamp: Stamp, space: Space) -> None:
    column: sql.Composable = sql.Identifier(space.column)
    kind = space.kind
    if is_indexed_by_halves(space):
        kind = "halfvec"
        column = sql.SQL("({}::halfvec({}))").format(column, sql.Literal(space.model.dimension))
    connection.execute(
        sql.SQL(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {items} USING hnsw "
            "({column} {operators}) WHERE {side}"
        ).format(
            name=sql.Identifier(names.index_name(stamp, space)),
            items=names.items(stamp),
            column=column,
            operators=sql.SQL(f"{kind}_{_OPERATORS[space.model.metric]}_ops"),
            side=names.searched_in(stamp, space, row=""),
        )
    )
