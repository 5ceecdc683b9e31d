"""What hotfill makes and alters in a database, and how it does so without holding others up.

In the schema of the items: a table of stamps, a table of counts and a sequence of versions. In a
table that was asked for a second space: three columns, one for each space, and triggers. Adding and
dropping columns rewrites no row; it waits for a moment in which nobody uses the table, but not
long, because whoever comes after would wait behind it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from hotfill.errors import StoreBusyError, StoreError
from hotfill.stores.base import check_unsearched
from hotfill.stores.long_work import check_wanted
from hotfill.stores.postgres import views
from hotfill.stores.postgres.connections import translated
from hotfill.stores.postgres.stamp import (
    PostgresStamp,
    check_prepared,
    counts,
    galleries,
    gallery_key,
    versions,
)
from hotfill.stores.postgres.triggers import functions, triggers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import LiteralString

    from hotfill.stores.postgres.connections import Connection, Connections
    from hotfill.stores.postgres.stamp import Rows, SpaceColumns
    from hotfill.types import ModelId

T = TypeVar("T")

_LOCK = 0x686F7466  # "hotf": one process at a time changes a schema
_LOCK_TIMEOUT = "2s"
_LOCK_TRIES = 30
_LOCK_PAUSE_SECONDS = 1.0

_EXTENSION = (
    "(SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
    "WHERE e.extname = 'vector')"
)

_WRITERS = (
    "SELECT virtualtransaction FROM pg_locks WHERE relation = to_regclass(%s) "
    "AND mode = 'RowExclusiveLock' AND database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)
_WRITERS_PAUSE_SECONDS = 0.01

_BOOKKEEPING = """
CREATE TABLE IF NOT EXISTS {galleries} (
    table_name text PRIMARY KEY, revision bigint NOT NULL, stamp jsonb NOT NULL, owner text
);
CREATE TABLE IF NOT EXISTS {counts} (
    table_name text NOT NULL, space smallint NOT NULL, origin text NOT NULL, items bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS hotfill_counts_by_table ON {counts} (table_name, space);
CREATE SEQUENCE IF NOT EXISTS {versions};
"""


def alone(connections: Connections, doing: str, schema: str, work: Callable[[Connection], T]) -> T:
    """Do some work in a transaction, when nobody else changes the same schema.

    On a connection of its own: it may take longer than those of the pool can be spared.
    """
    with translated(doing), connections.apart() as connection:
        for tries_left in reversed(range(_LOCK_TRIES)):
            try:
                with connections.transaction(connection):
                    connection.execute(
                        "SELECT set_config('lock_timeout', %s, true), "
                        "pg_advisory_xact_lock(%s, hashtext(%s))",
                        (_LOCK_TIMEOUT, _LOCK, schema),
                    )
                    return work(connection)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                if not tries_left:
                    raise
                time.sleep(_LOCK_PAUSE_SECONDS)
    raise StoreError("the table is in use by others")  # not reached: the last try raises


def read_stamp(
    connection: Connection, schema: str, table: str, rows: Rows | None = None
) -> PostgresStamp | None:
    """Read the stamp of a gallery; None where there is none.

    rows: which of the table; where it is None, those of the only gallery that the table has.
    Raises StoreError where it has several.
    """
    there = connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL", (galleries(schema).as_string(),)
    ).fetchone()
    if there != (True,):
        return None
    found = connection.execute(
        sql.SQL(
            "SELECT g.table_name, g.revision, g.stamp, {extension}, EXISTS ("
            "SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) "
            "AND attname = g.stamp->>'id_column' AND attidentity = 'a') "
            "FROM {galleries} g WHERE g.table_name = ANY (%s) "
            "OR (%s AND starts_with(g.table_name, %s)) ORDER BY 1"
        ).format(galleries=galleries(schema), extension=sql.SQL(_EXTENSION)),
        (
            sql.Identifier(schema, table).as_string(),
            [gallery_key(table, rows or ())],
            rows is None,
            gallery_key(table, (("", ""),))[:-1],
        ),
    ).fetchall()
    if not found:
        return None
    if len(found) > 1:
        raise StoreError(
            f"{schema}.{table} has {len(found)} galleries ({', '.join(row[0] for row in found)}): "
            "say in [store] by `rows` which one is meant"
        )
    ((_, revision, values, extension, given_out),) = found
    if extension is None:
        raise StoreError("the extension vector is no longer in this database: create it again")
    stamp = PostgresStamp.from_dict(schema, table, revision, values)
    return replace(stamp, extension=extension, ids_given_out=given_out)


def extension_schema(connection: Connection) -> str | None:
    """Return the schema of pgvector; None where it is not installed."""
    found: str | None = _only(connection.execute("SELECT " + _EXTENSION).fetchone())
    return found


def types(connection: Connection) -> dict[str, int]:
    """Return the numbers by which this database knows pgvector's types."""
    return dict(
        connection.execute(
            "SELECT t.typname::text, t.oid::int8 FROM pg_type t JOIN pg_extension e "
            "ON e.extnamespace = t.typnamespace WHERE e.extname = 'vector' "
            "AND t.typname IN ('vector', 'halfvec')"
        ).fetchall()
    )


def make_bookkeeping(connection: Connection, schema: str) -> str:
    """Make what all galleries of a schema share, where it is missing.

    Returns the schema of pgvector.
    """
    extension = extension_schema(connection)
    if extension is None:
        connection.execute("CREATE EXTENSION vector")
        extension = extension_schema(connection)
    connection.execute(
        sql.SQL(_BOOKKEEPING).format(
            galleries=galleries(schema),
            counts=counts(schema),
            versions=versions(schema),
        )
    )
    return str(extension)


def write_stamp(connection: Connection, stamp: PostgresStamp) -> PostgresStamp:
    """Write the stamp, with a new revision."""
    row = connection.execute(
        sql.SQL(
            "INSERT INTO {galleries} AS g (table_name, revision, stamp) "
            "VALUES (%s, nextval({versions}), %s) "
            "ON CONFLICT (table_name) DO UPDATE SET revision = nextval({versions}), "
            "stamp = excluded.stamp RETURNING revision"
        ).format(
            galleries=stamp.galleries,
            versions=stamp.versions,
        ),
        (stamp.key, Jsonb(stamp.to_dict())),
    ).fetchone()
    return replace(stamp, revision=_only(row))


def create(connection: Connection, empty: PostgresStamp, model: ModelId) -> PostgresStamp:
    """Make an empty table, with ids in the order of their bytes, and stamp it."""
    extension = make_bookkeeping(connection, empty.schema)
    stamp = replace(empty, extension=extension).with_space(model)
    connection.execute(
        sql.SQL(
            'CREATE TABLE {items} ({id} text COLLATE "C" PRIMARY KEY, '
            "{metadata} jsonb NOT NULL DEFAULT '{{}}')"
        ).format(
            items=stamp.items,
            id=sql.Identifier(stamp.id_column),
            metadata=sql.Identifier(stamp.metadata_column or "metadata"),
        )
    )
    _add_column(connection, stamp, stamp.spaces[0])
    return write_stamp(connection, _prepare(connection, stamp))


def _prepare(connection: Connection, stamp: PostgresStamp) -> PostgresStamp:
    """Add hotfill's columns and triggers. What is there already is searched in the first space."""
    connection.execute(
        sql.SQL(
            "ALTER TABLE {items} ADD COLUMN {version} bigint NOT NULL DEFAULT 0, "
            "ADD COLUMN {space} smallint NOT NULL DEFAULT {number}, "
            "ADD COLUMN {origin} text NOT NULL DEFAULT {fingerprint}"
        ).format(version=sql.Identifier(stamp.version_column), **_first_of(stamp, stamp.spaces[0]))
    )
    prepared = replace(stamp, prepared=True)
    _renew_functions(connection, prepared)
    for statement in triggers(prepared):
        connection.execute(statement)
    return prepared


def _first_of(stamp: PostgresStamp, space: SpaceColumns) -> dict[str, sql.Composable]:
    return {
        "items": stamp.items,
        "space": sql.Identifier(stamp.space_column),
        "number": sql.Literal(space.number),
        "origin": sql.Identifier(stamp.origin_column),
        "fingerprint": sql.Literal(space.model.fingerprint),
    }


def _with_nullable_columns(connection: Connection, stamp: PostgresStamp) -> PostgresStamp:
    """Let vectors be NULL where they may not, and note which."""
    spaces = []
    for space in stamp.spaces:
        (required,) = connection.execute(
            "SELECT attnotnull FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s",
            (stamp.items.as_string(), space.column),
        ).fetchone() or (False,)
        if required:
            _alter_column(connection, stamp, space, "DROP NOT NULL")
        spaces.append(replace(space, required=required or space.required))
    return replace(stamp, spaces=tuple(spaces))


def _with_not_null_columns(connection: Connection, stamp: PostgresStamp) -> PostgresStamp:
    """Require vectors again where the only space left is one that required them."""
    if [space.required for space in stamp.spaces] != [True]:
        return stamp
    (space,) = stamp.spaces
    empty = connection.execute(
        sql.SQL("SELECT FROM {} i WHERE i.{} IS NULL LIMIT 1").format(
            stamp.items, sql.Identifier(space.column)
        )
    ).fetchone()
    if empty is None:
        _alter_column(connection, stamp, space, "SET NOT NULL")
    return stamp


def _alter_column(
    connection: Connection, stamp: PostgresStamp, space: SpaceColumns, how: str
) -> None:
    connection.execute(
        sql.SQL("ALTER TABLE {} ALTER COLUMN {} " + how).format(
            stamp.items, sql.Identifier(space.column)
        )
    )


def _rows_in(connection: Connection, stamp: PostgresStamp, space: SpaceColumns) -> int:
    """Count the rows searched in a space, whatever the kept counts say."""
    (n,) = connection.execute(
        sql.SQL("SELECT count(*) FROM {} i WHERE {}").format(stamp.items, stamp.searched_in(space))
    ).fetchone() or (0,)
    return int(n)


def _renew_functions(connection: Connection, stamp: PostgresStamp) -> None:
    """Make the triggers' functions fit the spaces."""
    for statement in functions(stamp):
        connection.execute(statement)


def _add_column(connection: Connection, stamp: PostgresStamp, space: SpaceColumns) -> None:
    """Make room for the vectors of a space."""
    connection.execute(
        sql.SQL("ALTER TABLE {items} ADD COLUMN {column} {kind}({dimension})").format(
            items=stamp.items,
            column=sql.Identifier(space.column),
            kind=stamp.type_of(space.kind),
            dimension=sql.Literal(space.model.dimension),
        )
    )


def _drop_column(connection: Connection, stamp: PostgresStamp, column: str) -> None:
    """Remove vectors, and their indexes."""
    connection.execute(
        sql.SQL("ALTER TABLE {items} DROP COLUMN {column}").format(
            items=stamp.items, column=sql.Identifier(column)
        )
    )


# Handing over: programs of others know the vectors by the name that their column has --------------

_COPIED = 500  # rows in one transaction

_LENGTH = """
SELECT atttypmod FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped
"""

_COPY = """
UPDATE {items} i SET {theirs} = i.{ours} WHERE {side} AND {which}
"""

_THESE = "i.{key} = ANY (%(ids)s::text[]::{type}[])"

_NEXT = """
SELECT i.{key}::text FROM {items} i WHERE {side} AND {beyond}
ORDER BY i.{key} LIMIT %(limit)s
"""


def column_length(connection: Connection, stamp: PostgresStamp) -> int | None:
    """Return the dimension of the adopted column, -1 if it takes any; None when it has gone."""
    row = connection.execute(_LENGTH, (stamp.items.as_string(), stamp.vector_column)).fetchone()
    return None if row is None else int(row[0])


def shares_column(connection: Connection, stamp: PostgresStamp) -> bool:
    """Tell whether the adopted column stays although the gallery's own vectors in it go.

    It does where rows of others have vectors in it, now or, in one without a length, later.
    """
    if not stamp.rows or stamp.vector_column is None:
        return False
    length = column_length(connection, stamp)
    if length is None or length < 0:
        return length is not None
    others = connection.execute(
        sql.SQL("SELECT FROM {} i WHERE ({}) IS NOT TRUE LIMIT 1").format(
            stamp.items, stamp.of_gallery()
        )
    ).fetchone()
    return others is not None


def what_hinders(connection: Connection, stamp: PostgresStamp, model: ModelId) -> str | None:
    """Say why vectors of a model do not fit into a column that they share with others' rows."""
    if not shares_column(connection, stamp):
        return None
    length = column_length(connection, stamp)
    if length in (-1, model.dimension):
        return None
    kind = stamp.type_of("halfvec" if stamp.half else "vector").as_string()
    column = sql.Identifier(stamp.vector_column or "").as_string()
    return (
        f"{stamp.vector_column} takes vectors of {length} numbers, those of {model} have "
        f"{model.dimension}, and rows of others have vectors there too: let it take any length, "
        f"ALTER TABLE {stamp.items.as_string()} ALTER COLUMN {column} TYPE {kind}, after dropping "
        "indexes of the whole column"
    )


def hand_over(
    connection: Connection,
    stamp: PostgresStamp,
    heir: SpaceColumns,
    size: int,
    *,
    exact: bool,
) -> int | None:
    """Get everything ready for `drop_space`, while searches and writes go on.

    connection: in autocommit mode. Idempotent. size: items of the heir.
    Vectors that stay in a shared column are copied there, some rows at a time, and the index that
    searches will need is built. Returns the version from which on rows are to be copied again;
    None where none were copied.
    """
    since = None
    later = replace(heir, adopted=True)
    if shares_column(connection, stamp):
        now = connection.execute(sql.SQL("SELECT nextval({})").format(stamp.versions)).fetchone()
        since = int(_only(now))
        _make_room(connection, stamp, heir)
        after: str | None = None
        while ids := _next_rows(connection, stamp, heir, after):
            _copy(connection, stamp, heir, _THESE, {"ids": ids})
            after = ids[-1]
        later = replace(later, column=str(stamp.vector_column))
    optimise(connection, stamp, {heir.model: size}, Event(), exact=exact, spaces=(later,))
    return since


def _next_rows(
    connection: Connection, stamp: PostgresStamp, heir: SpaceColumns, after: str | None
) -> list[str]:
    beyond = "true" if after is None else "i.{key} > %(after)s::text::{type}"
    parts = {"key": sql.Identifier(stamp.id_column), "type": sql.SQL(stamp.id_type)}
    rows = connection.execute(
        sql.SQL(_NEXT).format(
            items=stamp.items,
            side=stamp.searched_in(heir),
            beyond=sql.SQL(beyond).format(**parts),
            **parts,
        ),
        {"after": after, "limit": _COPIED},
    )
    return [item_id for (item_id,) in rows]


def _copy(
    connection: Connection,
    stamp: PostgresStamp,
    heir: SpaceColumns,
    which: LiteralString,
    values: Mapping[str, Any],
) -> None:
    """Copy vectors of some rows into the adopted column."""
    connection.execute(
        sql.SQL(_COPY).format(
            items=stamp.items,
            theirs=sql.Identifier(str(stamp.vector_column)),
            ours=sql.Identifier(heir.column),
            side=stamp.searched_in(heir),
            which=sql.SQL(which).format(
                key=sql.Identifier(stamp.id_column),
                type=sql.SQL(stamp.id_type),
                version=sql.Identifier(stamp.version_column),
            ),
        ),
        values,
    )


def _drop_index(connection: Connection, stamp: PostgresStamp, space: SpaceColumns) -> None:
    connection.execute(
        sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(stamp.schema, stamp.index(space)))
    )


def _make_room(connection: Connection, stamp: PostgresStamp, heir: SpaceColumns) -> None:
    """See that vectors can be copied into the adopted column: hotfill's indexes know one length."""
    if why := what_hinders(connection, stamp, heir.model):
        raise StoreError(why)
    for space in stamp.spaces:
        if space != heir:
            _drop_index(connection, stamp, space)


def copy_one(connection: Connection, stamp: PostgresStamp, model: ModelId) -> None:
    """Copy the vector of one item, if `hand_over` would copy them."""
    heir = stamp.heir_of(model)
    if heir is not None and shares_column(connection, stamp):
        _make_room(connection, stamp, heir)
        first = _next_rows(connection, stamp, heir, None)[:1]
        _copy(connection, stamp, heir, _THESE, {"ids": first})


def take_away(
    connection: Connection, stamp: PostgresStamp, model: ModelId, since: int | None
) -> PostgresStamp:
    """Remove the vectors of a space, and let the only one left have the adopted column's name.

    since: as `hand_over` said. Raises StoreError when it cannot be.
    """
    space, heir = stamp.space(model), stamp.heir_of(model)
    shared = shares_column(connection, stamp)
    aside = []
    if space.adopted and shared:
        _drop_index(connection, stamp, space)
    else:
        if heir is not None and not shared:
            aside = views.set_aside(connection, stamp, space.column)
        _drop_column(connection, stamp, space.column)
    fewer = stamp.without_space(model)
    if heir is None:
        return fewer
    name = str(stamp.vector_column)
    if shared:
        if since is None:
            raise StoreError(f"others began to use {name} in this moment", retryable=True)
        _copy(
            connection,
            stamp,
            heir,
            "i.{version} >= %(since)s",
            {"since": since},
        )
        _drop_column(connection, stamp, heir.column)
    else:
        connection.execute(
            sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}").format(
                stamp.items, sql.Identifier(heir.column), sql.Identifier(name)
            )
        )
        if heir.comparison != heir.model.metric:  # another one, made by `hand_over`, is used now
            _drop_index(connection, stamp, heir)
        views.make_again(connection, aside)
    known = replace(heir, column=name, adopted=True, required=heir.required or space.required)
    return replace(fewer, spaces=(known,))


def _recount(connection: Connection, stamp: PostgresStamp) -> None:
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
            counts=stamp.counts,
            items=stamp.items,
            space=sql.Identifier(stamp.space_column),
            origin=sql.Identifier(stamp.origin_column),
            item=stamp.is_item,
        ),
        {"table": stamp.key},
    )


def claim(connection: Connection, stamp: PostgresStamp, owner: str) -> str:
    """Note who has the gallery, unless somebody else does; return who has it then."""
    row = connection.execute(
        sql.SQL(
            "UPDATE {} SET owner = coalesce(owner, %s) WHERE table_name = %s RETURNING owner"
        ).format(stamp.galleries),
        (owner, stamp.key),
    ).fetchone()
    return str(_only(row))


def release(connection: Connection, stamp: PostgresStamp, owner: str) -> None:
    """Note that nobody has the gallery, if `owner` had it."""
    connection.execute(
        sql.SQL("UPDATE {} SET owner = NULL WHERE table_name = %s AND owner = %s").format(
            stamp.galleries
        ),
        (stamp.key, owner),
    )


def await_writers(connection: Connection, stamp: PostgresStamp) -> None:
    """Wait until all that write to the table now have ended: they may go by an earlier stamp.

    Not for long: what stands still within a transaction, and is ours, the server ends before.
    """
    begun = {lock for (lock,) in connection.execute(_WRITERS, (stamp.items.as_string(),))}
    until = time.monotonic() + _STILL_SECONDS
    while begun and time.monotonic() < until:
        time.sleep(_WRITERS_PAUSE_SECONDS)
        begun &= {lock for (lock,) in connection.execute(_WRITERS, (stamp.items.as_string(),))}


def add_up(connection: Connection, stamp: PostgresStamp) -> None:
    """Replace many rows of counts by their sums; rows that others add up are left to them."""
    connection.execute(
        sql.SQL(
            "WITH many AS (SELECT ctid FROM {counts} WHERE table_name = %(table)s "
            "FOR UPDATE SKIP LOCKED), gone AS (DELETE FROM {counts} c USING many "
            "WHERE c.ctid = many.ctid RETURNING c.*) "
            "INSERT INTO {counts} SELECT table_name, space, origin, sum(items) FROM gone "
            "GROUP BY table_name, space, origin HAVING sum(items) <> 0"
        ).format(counts=stamp.counts),
        {"table": stamp.key},
    )


def _only(row: tuple[Any, ...] | None) -> Any:
    if row is None:
        raise StoreError("PostgreSQL gave no answer where one was expected")
    return row[0]


# Spaces: each function runs in one transaction, under `alone` ------------------------------------


def add_space(connection: Connection, stamp: PostgresStamp, model: ModelId) -> PostgresStamp:
    """Add a column for a model's vectors; to an adopted table first hotfill's own columns.

    New content takes away vectors of the earlier one, so that no column of vectors can stay
    NOT NULL; `drop_space` makes it so again where that is still possible.
    """
    if model in stamp.models:
        return stamp
    stamp = _with_nullable_columns(connection, stamp)
    if not stamp.prepared:
        stamp = _prepare(connection, stamp)
    stamp = stamp.with_space(model)
    _add_column(connection, stamp, stamp.spaces[-1])
    _renew_functions(connection, stamp)
    return write_stamp(connection, stamp)


def count_all(connection: Connection, stamp: PostgresStamp) -> PostgresStamp:
    """Count the rows, and let the kept counts say so; an unprepared table has none."""
    if not stamp.prepared:
        return stamp
    _recount(connection, stamp)
    return stamp if stamp.counted else write_stamp(connection, replace(stamp, counted=True))


def drop_space(
    connection: Connection, stamp: PostgresStamp, model: ModelId, since: int | None
) -> PostgresStamp:
    """Drop the column of an unsearched space. since: as `hand_over` said.

    The rows themselves are looked at: what came with triggers switched off is in no count.
    """
    if model not in stamp.models:
        return stamp
    check_prepared(stamp)
    space = stamp.space(model)
    # From here on nobody writes, so that the count stays true until the column is gone; searches
    # go on while the rows are counted.
    connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(stamp.items))
    check_unsearched(model, _rows_in(connection, stamp, space))
    fewer = take_away(connection, stamp, model, since)
    _renew_functions(connection, fewer)
    fewer = _with_not_null_columns(connection, fewer)
    if fewer.spaces:  # where rows are searched that come with triggers switched off
        first = fewer.spaces[0]
        connection.execute(
            sql.SQL(
                "ALTER TABLE {items} ALTER COLUMN {space} SET DEFAULT {number}, "
                "ALTER COLUMN {origin} SET DEFAULT {fingerprint}"
            ).format(**_first_of(fewer, first))
        )
    return write_stamp(connection, fewer)


# Indexes of sides, built late and without holding anybody up -------------------------------------

INDEXED_FROM = 10_000
"""Items; fewer are compared one by one as quickly."""
_OPERATORS = {"cosine": "cosine", "dot": "ip", "l2": "l2"}
_BUILT_BY_OTHERS_SECONDS = 0.2  # how soon it is noticed that they have done it
_BUILD_LOCK = 0x686F7467  # "hotg": one process at a time builds
_STILL_SECONDS = 30.0
_IDLE_BUILDER = """
SELECT a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database()
AND l.classid::bigint = %s AND l.objid::bigint = hashtext(%s)::bigint & 4294967295
AND a.state LIKE 'idle%%' AND clock_timestamp() - a.state_change > make_interval(secs => %s)
"""


def optimise(
    connection: Connection,
    stamp: PostgresStamp,
    sizes: Mapping[ModelId, int],
    given_up: Event,
    *,
    exact: bool,
    spaces: Sequence[SpaceColumns] | None = None,
) -> None:
    """Build missing indexes, drop useless ones, vacuum. connection: in autocommit mode.

    Where one was built, the others stay unchanged: cleaning up a graph takes longer than
    building it (18,000 x 256: more than a minute), and they are of a side that is about to go.

    given_up: set it, and then cancel what the connection does, to have all of that end.
    spaces: to look after; by default all of the stamp.
    Waits while another process is at it, or the server is for one that was killed. Raises
    StoreBusyError when that process stands still, AbandonedError.
    """
    key = (_BUILD_LOCK, stamp.items.as_string())
    # Asked again and again: who waits inside a statement is waited for by the one that builds.
    while connection.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", key).fetchone() != (
        True,
    ):
        _check_building(connection, stamp, key)
        given_up.wait(_BUILT_BY_OTHERS_SECONDS)
        check_wanted(given_up)
    cleaning = sql.SQL("")
    try:
        for space in stamp.spaces if spaces is None else spaces:
            check_wanted(given_up)
            size = sizes.get(space.model, 0)
            built = _is_built(connection, stamp, space)
            wanted = not exact and _needs_index(connection, stamp, space, size)
            if built is False or (built and size == 0):
                connection.execute(
                    sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(
                        sql.Identifier(stamp.schema, stamp.index(space))
                    )
                )
            if wanted and not built:
                _build(connection, stamp, space)
                cleaning = sql.SQL(", INDEX_CLEANUP OFF")
        connection.execute(
            sql.SQL("VACUUM (ANALYZE, SKIP_LOCKED{}) {}").format(cleaning, stamp.items)
        )
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", key)


def _check_building(connection: Connection, stamp: PostgresStamp, key: tuple[int, str]) -> None:
    """Raise StoreBusyError when whoever builds has asked nothing of the server for long."""
    idle = connection.execute(_IDLE_BUILDER, (*key, _STILL_SECONDS)).fetchone()
    if idle is not None:
        raise StoreBusyError(
            f"another process has the indexes of {stamp.table} in hand, and has done nothing for "
            f"{_STILL_SECONDS:g} s (session {idle[0]} of the server): let it go on, or end it with "
            f"SELECT pg_terminate_backend({idle[0]}); then say the same again",
            retryable=True,
        )


def indexed(
    connection: Connection, stamp: PostgresStamp, space: SpaceColumns, size: int
) -> float | None:
    """Tell whether a side has an index, 1 or 0: it covers every row. None where none is needed.

    size: items of the side. An adopted column may have an index that others made.
    """
    if not size:
        return None
    if _has_index(connection, stamp, space):
        return 1.0
    return 0.0 if _needs_index(connection, stamp, space, size) else None


_OTHERS_INDEX = """
SELECT 1 FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_am m ON m.oid = c.relam
JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
WHERE x.indrelid = to_regclass(%s) AND a.attname = %s AND x.indisvalid AND x.indpred IS NULL
AND m.amname IN ('hnsw', 'ivfflat')
"""


def _place(stamp: PostgresStamp, space: SpaceColumns) -> tuple[str, str]:
    return stamp.items.as_string(), space.column


def _needs_index(
    connection: Connection, stamp: PostgresStamp, space: SpaceColumns, size: int
) -> bool:
    """Tell whether a side is large, or another side has an index: searches must not lose it."""
    if not size or not space.can_be_indexed or _is_partitioned(connection, stamp):
        return False
    return size >= INDEXED_FROM or any(
        _has_index(connection, stamp, other)
        for other in stamp.spaces
        if other.number != space.number
    )


def _has_index(connection: Connection, stamp: PostgresStamp, space: SpaceColumns) -> bool:
    """Tell whether a side has an index, one that people made included."""
    if _is_built(connection, stamp, space):
        return True
    return connection.execute(_OTHERS_INDEX, _place(stamp, space)).fetchone() is not None


def _is_partitioned(connection: Connection, stamp: PostgresStamp) -> bool:
    """Tell whether the table is one whose indexes cannot be built while others write."""
    row = connection.execute(
        "SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(%s)",
        (stamp.items.as_string(),),
    ).fetchone()
    return row == (True,)


def _is_built(connection: Connection, stamp: PostgresStamp, space: SpaceColumns) -> bool | None:
    """Tell whether the index is there; False when its making was cut short, None without one."""
    row = connection.execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)",
        (sql.Identifier(stamp.schema, stamp.index(space)).as_string(),),
    ).fetchone()
    return None if row is None else bool(row[0])


def _build(connection: Connection, stamp: PostgresStamp, space: SpaceColumns) -> None:
    column: sql.Composable = sql.Identifier(space.column)
    kind = space.kind
    if space.indexed_as is not None:
        kind = space.indexed_as
        column = sql.SQL("({}::{}({}))").format(
            column, stamp.type_of(kind), sql.Literal(space.model.dimension)
        )
    connection.execute(
        sql.SQL(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {items} USING hnsw "
            "({column} {operators}) WHERE {side}"
        ).format(
            name=sql.Identifier(stamp.index(space)),
            items=stamp.items,
            column=column,
            operators=sql.Identifier(stamp.extension, f"{kind}_{_OPERATORS[space.comparison]}_ops"),
            side=stamp.searched_in(space, row=""),
        )
    )
