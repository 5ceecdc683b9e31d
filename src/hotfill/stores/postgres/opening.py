"""How a table becomes a gallery. What alters it is one transaction that nobody else disturbs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotfill.errors import StoreError
from hotfill.stores.postgres import adoption, names
from hotfill.stores.postgres import schema as ddl
from hotfill.stores.postgres.connections import Connections
from hotfill.stores.postgres.stamp import Stamp
from hotfill.stores.postgres.table import known
from hotfill.stores.postgres.triggers import OWN_SESSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hotfill.stores.postgres.connections import Connection
    from hotfill.types import ModelId


@contextmanager
def connected(
    dsn: str, ef: int | None, most: int, timeout_seconds: float, schema: str, table: str
) -> Iterator[Connections]:
    """Connect, with the settings that a gallery needs, for what the block opens.

    If that fails, disconnect.
    """
    names.check_name("the schema", schema)
    names.check_name("the table", table)
    settings = {
        **OWN_SESSION,
        # Values decide what the best plan is, above all which index a search may use.
        "plan_cache_mode": "force_custom_plan",
        # An index goes on until k hits passed the filter, and gives them nearly in order.
        "hnsw.iterative_scan": "relaxed_order",
        "hnsw.max_scan_tuples": "1000000",
    }
    if ef is not None:
        settings["hnsw.ef_search"] = str(ef)
    connections = Connections(dsn, most=most, timeout_seconds=timeout_seconds, settings=settings)
    try:
        yield connections
    except BaseException:
        connections.close()
        raise


def types(connection: Connection) -> dict[str, int]:
    """The numbers by which this database knows pgvector's types."""
    return dict(
        connection.execute(
            "SELECT name, to_regtype(name)::oid::int8 FROM unnest(ARRAY['vector', 'halfvec']) name "
            "WHERE to_regtype(name) IS NOT NULL"
        ).fetchall()
    )


def create(
    connections: Connections, model: ModelId, *, schema: str, table: str, half: bool
) -> Stamp:
    """Make an empty table and stamp it."""
    empty = Stamp(
        schema=schema,
        table=table,
        id_column="item_id",
        id_type="text",
        metadata_column="metadata",
        spaces=(),
        next_number=1,
        prepared=False,
        counted=True,
        half=half,
    ).with_space(model)

    def make(connection: Connection) -> Stamp:
        ddl.make_bookkeeping(connection, schema)
        ddl.create_table(connection, empty)
        ddl.add_column(connection, empty, empty.spaces[0])
        return ddl.write_stamp(connection, ddl.prepare(connection, empty))

    return _alone(connections, f"make the table {schema}.{table}", schema, make)


def adopt(
    connections: Connections,
    model: ModelId,
    columns: adoption.Columns,
    *,
    schema: str,
    table: str,
    half: bool,
) -> Stamp:
    """Stamp a table that is there, without altering it."""

    def make(connection: Connection) -> Stamp:
        stamp = ddl.read_stamp(connection, schema, table)
        if stamp is None:
            fresh = adoption.look(connection, model, columns, schema=schema, table=table, half=half)
            ddl.make_bookkeeping(connection, schema)
            return ddl.write_stamp(connection, fresh)
        if model not in stamp.models:
            held = ", ".join(map(str, stamp.models)) or "nothing"
            raise StoreError(f"{schema}.{table} is stamped already: it holds {held}; open it")
        return stamp

    return _alone(connections, f"adopt the table {schema}.{table}", schema, make)


def stamp_of(connections: Connections, *, schema: str, table: str) -> Stamp:
    """Read the stamp of a gallery. Raises StoreError where there is none."""
    return _alone(
        connections,
        f"open the table {schema}.{table}",
        schema,
        lambda connection: known(ddl.read_stamp(connection, schema, table), schema, table),
    )


def _alone(
    connections: Connections, doing: str, schema: str, make: Callable[[Connection], Stamp]
) -> Stamp:
    return connections.run(doing, lambda c: ddl.alone(c, schema, lambda: make(c)))
