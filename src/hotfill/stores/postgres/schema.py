"""What hotfill makes and alters in a database, and how it does so without holding others up.

In the schema of the items: a table of stamps, a table of counts and a sequence of versions. In a
table that was asked for a second space: three columns, one for each space, and triggers. Adding and
dropping columns rewrites no row; it waits for a moment in which nobody uses the table, but not
long, because whoever comes after would wait behind it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from hotfill.errors import StoreError
from hotfill.stores.postgres import names
from hotfill.stores.postgres.stamp import ORIGIN, SPACE, VERSION, Stamp
from hotfill.stores.postgres.triggers import functions, triggers

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.stores.postgres.connections import Connection
    from hotfill.stores.postgres.stamp import Space

T = TypeVar("T")

_LOCK = 0x686F7466  # "hotf": one process at a time changes a schema
_LOCK_TIMEOUT = "2s"
_LOCK_TRIES = 30
_LOCK_PAUSE_SECONDS = 1.0

_BOOKKEEPING = """
CREATE TABLE IF NOT EXISTS {galleries} (
    table_name text PRIMARY KEY, revision bigint NOT NULL, stamp jsonb NOT NULL
);
CREATE TABLE IF NOT EXISTS {counts} (
    table_name text NOT NULL, space smallint NOT NULL, origin text NOT NULL, items bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS hotfill_counts_by_table ON {counts} (table_name, space);
CREATE SEQUENCE IF NOT EXISTS {versions};
"""


def alone(connection: Connection, schema: str, work: Callable[[], T]) -> T:
    """Do some work in a transaction, when nobody else changes the same schema."""
    for tries_left in reversed(range(_LOCK_TRIES)):
        try:
            with connection.transaction():
                connection.execute(
                    "SELECT set_config('lock_timeout', %s, true), "
                    "pg_advisory_xact_lock(%s, hashtext(%s))",
                    (_LOCK_TIMEOUT, _LOCK, schema),
                )
                return work()
        except psycopg.errors.LockNotAvailable:
            if not tries_left:
                raise
            time.sleep(_LOCK_PAUSE_SECONDS)
    raise StoreError("the table is in use by others")  # not reached: the last try raises


def read_stamp(connection: Connection, schema: str, table: str) -> Stamp | None:
    """Read the stamp of a gallery; None where there is none."""
    there = connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL", (names.galleries(schema).as_string(),)
    ).fetchone()
    if there != (True,):
        return None
    row = connection.execute(
        sql.SQL("SELECT revision, stamp FROM {} WHERE table_name = %s").format(
            names.galleries(schema)
        ),
        (table,),
    ).fetchone()
    return None if row is None else Stamp.from_dict(schema, table, row[0], row[1])


def make_bookkeeping(connection: Connection, schema: str) -> None:
    """Make what all galleries of a schema share, where it is missing."""
    extension = "SELECT 1 FROM pg_extension WHERE extname = 'vector'"
    if connection.execute(extension).fetchone() is None:
        connection.execute("CREATE EXTENSION vector")
    connection.execute(
        sql.SQL(_BOOKKEEPING).format(
            galleries=names.galleries(schema),
            counts=names.counts(schema),
            versions=names.versions(schema),
        )
    )


def write_stamp(connection: Connection, stamp: Stamp) -> Stamp:
    """Write the stamp, with a new revision."""
    row = connection.execute(
        sql.SQL(
            "INSERT INTO {galleries} AS g VALUES (%s, nextval({versions}), %s) "
            "ON CONFLICT (table_name) DO UPDATE SET revision = nextval({versions}), "
            "stamp = excluded.stamp RETURNING revision"
        ).format(
            galleries=names.galleries(stamp.schema),
            versions=sql.Literal(names.versions(stamp.schema).as_string()),
        ),
        (stamp.table, Jsonb(stamp.to_dict())),
    ).fetchone()
    return replace(stamp, revision=_only(row))


def create_table(connection: Connection, stamp: Stamp) -> None:
    """Make an empty table, with ids in the order of their bytes."""
    connection.execute(
        sql.SQL(
            'CREATE TABLE {items} ({id} text COLLATE "C" PRIMARY KEY, '
            "{metadata} jsonb NOT NULL DEFAULT '{{}}')"
        ).format(
            items=names.items(stamp),
            id=sql.Identifier(stamp.id_column),
            metadata=sql.Identifier(stamp.metadata_column or "metadata"),
        )
    )


def prepare(connection: Connection, stamp: Stamp) -> Stamp:
    """Add hotfill's columns and triggers. What is there already is searched in the first space."""
    first = stamp.spaces[0]
    connection.execute(
        sql.SQL(
            "ALTER TABLE {items} ADD COLUMN {version} bigint NOT NULL DEFAULT 0, "
            "ADD COLUMN {space} smallint NOT NULL DEFAULT {number}, "
            "ADD COLUMN {origin} text NOT NULL DEFAULT {fingerprint}"
        ).format(
            items=names.items(stamp),
            version=sql.Identifier(VERSION),
            space=sql.Identifier(SPACE),
            number=sql.Literal(first.number),
            origin=sql.Identifier(ORIGIN),
            fingerprint=sql.Literal(first.model.fingerprint),
        )
    )
    prepared = replace(stamp, prepared=True)
    renew_functions(connection, prepared)
    for statement in triggers(prepared):
        connection.execute(statement)
    return prepared


def renew_functions(connection: Connection, stamp: Stamp) -> None:
    """Make the triggers' functions fit the spaces."""
    extension = connection.execute(
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
        "WHERE e.extname = 'vector'"
    ).fetchone()
    for statement in functions(stamp, _only(extension)):
        connection.execute(statement)


def add_column(connection: Connection, stamp: Stamp, space: Space) -> None:
    """Make room for the vectors of a space."""
    connection.execute(
        sql.SQL("ALTER TABLE {items} ADD COLUMN {column} {kind}({dimension})").format(
            items=names.items(stamp),
            column=sql.Identifier(space.column),
            kind=sql.SQL(space.kind),
            dimension=sql.Literal(space.model.dimension),
        )
    )


def drop_column(connection: Connection, stamp: Stamp, space: Space) -> None:
    """Remove the vectors of a space, and its index."""
    connection.execute(
        sql.SQL("ALTER TABLE {items} DROP COLUMN {column}").format(
            items=names.items(stamp), column=sql.Identifier(space.column)
        )
    )


def count_anew(connection: Connection, stamp: Stamp) -> None:
    """Make the counts right, in one statement that sees one moment, while others go on writing.

    The triggers count from before that moment: what they counted until then is taken off again.
    """
    connection.execute(
        sql.SQL(
            "INSERT INTO {counts} (table_name, space, origin, items) "
            "SELECT %(table)s, i.{space}, i.{origin}, count(*) FROM {items} i WHERE {item} "
            "GROUP BY i.{space}, i.{origin} UNION ALL "
            "SELECT table_name, space, origin, -sum(items) FROM {counts} "
            "WHERE table_name = %(table)s GROUP BY table_name, space, origin"
        ).format(
            counts=names.counts(stamp.schema),
            items=names.items(stamp),
            space=sql.Identifier(SPACE),
            origin=sql.Identifier(ORIGIN),
            item=names.is_item(stamp),
        ),
        {"table": stamp.table},
    )


def add_up(connection: Connection, stamp: Stamp) -> None:
    """Replace many rows of counts by their sums; rows that others add up are left to them."""
    connection.execute(
        sql.SQL(
            "WITH many AS (SELECT ctid FROM {counts} WHERE table_name = %(table)s "
            "FOR UPDATE SKIP LOCKED), gone AS (DELETE FROM {counts} c USING many "
            "WHERE c.ctid = many.ctid RETURNING c.*) "
            "INSERT INTO {counts} SELECT table_name, space, origin, sum(items) FROM gone "
            "GROUP BY table_name, space, origin HAVING sum(items) <> 0"
        ).format(counts=names.counts(stamp.schema)),
        {"table": stamp.table},
    )


def _only(row: tuple[Any, ...] | None) -> Any:
    if row is None:
        raise StoreError("PostgreSQL gave no answer where one was expected")
    return row[0]
