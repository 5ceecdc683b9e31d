"""What can be known of people's own tables before they are promised anything.

`look` tells whether a table can be a gallery and changes nothing. `rehearse` does what an upgrade
will do, in a transaction that is rolled back. `remarks` says what an operator should know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import psycopg
from psycopg import sql

from hotfill.errors import InputError, StoreError
from hotfill.stores.layouts import table_layout
from hotfill.stores.postgres import schema as ddl
from hotfill.stores.postgres import statements, views
from hotfill.stores.postgres.connections import ours, translated
from hotfill.stores.postgres.stamp import (
    MOST_INDEXED,
    PostgresStamp,
    SpaceColumns,
)
from hotfill.stores.postgres.values import ID_TYPES
from hotfill.types import ModelId

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.stores.layouts import Layout
    from hotfill.stores.postgres.connections import Connection, Connections
    from hotfill.stores.postgres.stamp import Kind, Rows
    from hotfill.stores.postgres.statements import Statement
    from hotfill.stores.postgres.values import Binary
    from hotfill.types import Vectors

_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, NULL), a.atttypmod, a.attnotnull, EXISTS (
    SELECT FROM pg_index x WHERE x.indrelid = a.attrelid AND x.indisunique AND x.indisvalid
    AND x.indnkeyatts = 1 AND x.indkey[0] = a.attnum AND x.indpred IS NULL
) FROM pg_attribute a WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""


_RELKIND = "SELECT relkind::text FROM pg_class WHERE oid = to_regclass(%s)"
_OTHER_KINDS = {"v": "view", "m": "materialized view", "f": "foreign table"}


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table hotfill uses, and which rows. None: as a framework has them."""

    item_id: str | None = None
    vector: str | None = None
    metadata: str | None = None
    rows: Rows | None = None


def look(
    connection: Connection,
    model: ModelId,
    named: Columns,
    *,
    schema: str,
    table: str,
    half: bool,
) -> PostgresStamp:
    """Return the stamp that fits a table. Raises StoreError naming what does not fit."""
    quoted = sql.Identifier(schema, table).as_string()
    known = columns_of(connection, quoted)
    if not known:
        raise StoreError(f"there is no table {quoted}, or you may not see it")
    (relkind,) = connection.execute(_RELKIND, (quoted,)).fetchone() or ("",)
    if relkind not in ("r", "p"):
        raise StoreError(
            f"{quoted} is not a table but a {_OTHER_KINDS.get(relkind, 'relation')}: adopt the "
            "table that has the vectors"
        )
    made_by = table_layout(known)
    id_column = named.item_id or (made_by.id if made_by else "id")
    vector_column = named.vector or (made_by.vector if made_by else "embedding")
    metadata_column = named.metadata or (made_by.metadata if made_by else None)
    rows = named.rows
    if rows is None:
        rows = _only_collection(connection, schema, table, made_by)
    for name in (id_column, vector_column, metadata_column, *(column for column, _ in rows)):
        if name is not None and name not in known:
            raise StoreError(f"{quoted} has no column {name!r}; it has {', '.join(known)}")
    id_type, _, not_null, unique = known[id_column]
    if id_type not in ID_TYPES or not (not_null and unique):
        raise StoreError(
            f"{quoted}: the id column {id_column!r} must be of type {', '.join(ID_TYPES)}, never "
            f"empty, and unique by an index of its own (a primary key is); it is {id_type}"
            f"{'' if not_null else ', may be empty'}{'' if unique else ', has no such index'}"
        )
    kind, dimension, _, _ = known[vector_column]
    kind = kind.rpartition(".")[2]
    if kind not in ("vector", "halfvec") or dimension not in (-1, model.dimension):
        raise StoreError(
            f"{quoted}: the vectors of {model} need a column of type vector({model.dimension}) or "
            f"halfvec({model.dimension}); {vector_column!r} is "
            f"{f'{kind}({dimension})' if dimension > 0 else kind}"
        )
    if metadata_column is not None and known[metadata_column][0] not in ("jsonb", "json"):
        raise StoreError(
            f"{quoted}: metadata needs a column of type jsonb or json; {metadata_column!r} is "
            f"{known[metadata_column][0]}"
        )
    stamp = PostgresStamp(
        schema=schema,
        table=table,
        id_column=id_column,
        id_type=id_type,
        metadata_column=metadata_column,
        spaces=(SpaceColumns(model, 1, vector_column, cast("Kind", kind), adopted=True),),
        next_number=2,
        prepared=False,
        counted=False,
        half=half or kind == "halfvec",
        rows=rows,
        vector_column=vector_column,
        extension=ddl.extension_schema(connection) or "public",
    )
    if dimension < 0:
        _check_lengths(connection, stamp)
    return stamp


def columns(connection: Connection, stamp: PostgresStamp) -> list[str]:
    """List the columns of a table."""
    return [row[0] for row in connection.execute(_COLUMNS, (stamp.items.as_string(),))]


def layout(connection: Connection, stamp: PostgresStamp) -> Layout | None:
    """Tell which framework made a table."""
    known = columns(connection, stamp)
    if stamp.vector_column is not None:  # of hotfill's name, while the old one is gone
        known.append(stamp.vector_column)
    return table_layout(known)


def _only_collection(
    connection: Connection, schema: str, table: str, layout: Layout | None
) -> Rows:
    """Tell which rows of a framework's table are meant, as far as there is only one choice."""
    found = collections(connection, schema, table, layout)
    if layout is None or len(found) <= 1:
        return found[0].rows if found else ()  # rows of no collection are all of them
    lines = [
        f'    rows = {{ {column} = "{value}" }}  # {each.name or "a collection"}, {each.items:,} '
        "rows"
        for each in found
        for column, value in each.rows
    ]
    raise StoreError(
        f"{schema}.{table} was made by {layout.framework} and holds {len(found)} collections: say "
        "in [store] which one is meant" + "".join("\n" + line for line in lines)
    )


class TableCollection(NamedTuple):
    """One of the collections in a framework's table. name: None where the framework has none."""

    name: str | None
    rows: Rows
    items: int


def collections(
    connection: Connection, schema: str, table: str, layout: Layout | None
) -> list[TableCollection]:
    """List the collections of a framework's table; none where all rows are one."""
    if layout is None or layout.collection is None:
        return []
    column = layout.collection
    found = connection.execute(
        sql.SQL("SELECT i.{c}::text, count(*) FROM {} i WHERE i.{c} IS NOT NULL GROUP BY 1").format(
            sql.Identifier(schema, table), c=sql.Identifier(column)
        )
    ).fetchall()
    names = _collection_names(connection, schema, layout) if len(found) > 1 else {}
    made = [TableCollection(names.get(value), ((column, value),), n) for value, n in found]
    return sorted(made, key=lambda each: (each.name or "", each.rows))


def _collection_names(connection: Connection, schema: str, layout: Layout) -> dict[str, str]:
    if layout.names is None:
        return {}
    table, key, name = layout.names
    quoted = sql.Identifier(schema, table)
    there = connection.execute("SELECT to_regclass(%s)", (quoted.as_string(),)).fetchone()
    if there in (None, (None,)):
        return {}
    return dict(
        connection.execute(
            sql.SQL("SELECT {}::text, {}::text FROM {}").format(
                sql.Identifier(key), sql.Identifier(name), quoted
            )
        ).fetchall()
    )


def _check_lengths(connection: Connection, stamp: PostgresStamp) -> None:
    """Raise StoreError unless all vectors of a column without a length have the model's."""
    (space,) = stamp.spaces
    lengths = _lengths(connection, stamp, stamp.of_gallery())
    if other := {n: rows for n, rows in lengths.items() if n != space.model.dimension}:
        held = ", ".join(f"{rows:,} of {n} numbers" for n, rows in sorted(other.items()))
        raise StoreError(
            f"{stamp.items.as_string()}: the vectors of {space.model} have "
            f"{space.model.dimension} numbers, and {space.column} holds {held}: say in [store] by "
            "`rows` which rows are meant, such as { collection_id = ... }"
        )


def _lengths(connection: Connection, stamp: PostgresStamp, which: sql.Composable) -> dict[int, int]:
    """Count vectors of the adopted column by their lengths."""
    return dict(
        connection.execute(
            sql.SQL(
                "SELECT {dims}(i.{c}), count(*) FROM {items} i WHERE i.{c} IS NOT NULL "
                "AND {which} GROUP BY 1"
            ).format(
                dims=sql.Identifier(stamp.extension, "vector_dims"),
                c=sql.Identifier(str(stamp.vector_column)),
                items=stamp.items,
                which=which,
            )
        ).fetchall()
    )


def columns_of(connection: Connection, table: str) -> dict[str, tuple[Any, ...]]:
    """Read the columns of a table, given by its quoted name; none where there is no such table.

    Of each its type, the number in brackets after that (-1: none), whether it is never empty, and
    whether it alone is unique.
    """
    return {row[0]: row[1:] for row in connection.execute(_COLUMNS, (table,)).fetchall()}


# Rehearsing --------------------------------------------------------------------------------------

_LIMITS = {"lock_timeout": "2s", "statement_timeout": "20s"}
_NEVER = 2**62  # a version that no row has
_ANY_MODEL = ModelId("hotfill-rehearsal", "1", 4)


def rehearse(
    connections: Connections,
    stamp: PostgresStamp,
    model: ModelId | None,
    array: Callable[[Vectors, SpaceColumns], Binary],
) -> list[str]:
    """Do what an upgrade will do to a table, roll it back, and return what failed.

    model: whose column is added; any where it is None. array: makes an array of vectors.
    Others wait for the table in that time, which is some milliseconds.
    """
    rehearsal = _Rehearsal(stamp, array)
    with (
        translated("rehearse an upgrade"),
        connections.apart() as connection,
        connections.transaction(connection),
    ):
        for name, value in _LIMITS.items():
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
        rehearsal.run(connection, model)
        raise psycopg.Rollback
    return rehearsal.problems


def rehearse_drop(connections: Connections, stamp: PostgresStamp, model: ModelId) -> list[str]:
    """Drop the column of a model, roll it back, and return what failed."""
    try:
        with (
            translated(f"drop the vectors of {model}"),
            connections.apart() as connection,
            connections.transaction(connection),
        ):
            ddl.copy_one(connection, stamp, model)
            ddl.take_away(connection, stamp, model, since=_NEVER)
            raise psycopg.Rollback
    except (StoreError, InputError) as error:
        if isinstance(error, StoreError) and error.retryable:
            raise
        return [str(error)]
    return []


class _Rehearsal:
    """One run through an upgrade, inside a transaction. problems: what failed."""

    def __init__(
        self, stamp: PostgresStamp, array: Callable[[Vectors, SpaceColumns], Binary]
    ) -> None:
        self.problems: list[str] = []
        self._stamp, self._array = stamp, array

    def run(self, connection: Connection, model: ModelId | None) -> None:
        """Start, write, move there and back, delete."""
        self._look_for_hidden_rows(connection)
        old = self._stamp.spaces[0]
        items = connection.execute(
            sql.SQL("SELECT {} FROM {} i WHERE {} LIMIT 2").format(
                self._stamp.item_id, self._stamp.items, self._stamp.is_item
            )
        ).fetchall()
        if model is None and len(self._stamp.spaces) < 2:
            model = _ANY_MODEL
        if model is not None and model not in self._stamp.models:
            self._try(connection, "add a space", lambda: self._add_space(connection, model))
            if model not in self._stamp.models:
                return  # nothing of the rest can be tried
        if not items:
            return
        new, first, last = self._stamp.spaces[-1], items[0][0], items[-1][0]
        self._try(
            connection,
            "write an item that exists",
            lambda: self._run(
                connection,
                statements.upsert(self._stamp, new, [first], {new: self._vector(new)}, None),
            ),
        )
        self._try(connection, "move an item", lambda: self._move(connection, new, last))
        self._try(connection, "move it back", lambda: self._move(connection, old, last))
        if self._stamp.metadata_column is not None:
            self._try(
                connection,
                "write metadata",
                lambda: statements.set_metadata(self._stamp, [last], ["{}"]).rows_by(
                    connection, self._stamp
                ),
            )
        self._try(
            connection,
            "delete an item",
            lambda: self._run(connection, statements.delete(self._stamp, [first])),
        )

    def _look_for_hidden_rows(self, connection: Connection) -> None:
        hidden, user = connection.execute(
            "SELECT row_security_active(to_regclass(%s)), current_user::text",
            (self._stamp.items.as_string(),),
        ).fetchone() or (False, "")
        if hidden:
            self.problems.append(
                f"row-level security hides rows of {self._stamp.schema}.{self._stamp.table} from "
                f"{user}, and hotfill has to see all of them: connect as a user for whom it does "
                f"not hold, or let a superuser say ALTER ROLE {user} BYPASSRLS"
            )

    def _try(self, connection: Connection, what: str, work: Callable[[], object]) -> None:
        try:
            with connection.transaction():
                work()
        except psycopg.errors.ForeignKeyViolation:
            pass  # rows of other tables say when an item may go; that is the application's affair
        except (psycopg.OperationalError, psycopg.DatabaseError) as error:
            if connection.closed:
                raise
            self.problems.append(str(ours(what, error)))
        except StoreError as error:
            self.problems.append(f"could not {what}: {error}")

    def _add_space(self, connection: Connection, model: ModelId) -> None:
        self._stamp = ddl.add_space(connection, self._stamp, model)

    def _move(self, connection: Connection, side: SpaceColumns, item_id: str) -> None:
        ((_, version, *_),) = self._run(connection, statements.get(self._stamp, [item_id]))
        self._run(
            connection,
            statements.move(
                self._stamp,
                side,
                [item_id],
                self._vector(side),
                [version],
                side.model.fingerprint,
            ),
        )

    def _run(self, connection: Connection, statement: Statement) -> list[tuple[Any, ...]]:
        rows = statement.rows_by(connection, self._stamp)
        if not rows:
            raise StoreError("no row was touched: a trigger, a rule or a policy prevents it")
        return rows

    def _vector(self, space: SpaceColumns) -> Binary:
        return self._array(np.ones((1, space.model.dimension), dtype=np.float32), space)


# Remarks -----------------------------------------------------------------------------------------

_DEPENDENTS = """
SELECT DISTINCT coalesce(
    'view ' || r.ev_class::regclass::text, pg_describe_object(d.classid, d.objid, d.objsubid)
) FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(%s) AND a.attname = %s
AND d.deptype = 'n' AND (%s OR r.oid IS NULL) ORDER BY 1
"""

_REQUIRED = """
SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0
AND NOT attisdropped AND attnotnull AND NOT atthasdef AND attidentity = ''
AND attname::text <> ALL (%s) ORDER BY attnum
"""

_TRIGGERS = """
SELECT tgname::text FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal
AND tgenabled IN ('O', 'A') AND tgtype & 16 <> 0 AND tgname NOT LIKE 'hotfill\\_%%'
AND tgattr = ''::int2vector ORDER BY 1
"""

_SAMPLED = 1000  # rows whose lengths are compared with what the model promises


def remarks(connections: Connections, stamp: PostgresStamp, model: ModelId | None) -> list[str]:
    """Return what an operator should know of a table. Scans it once.

    model: of the vectors to come; None where that is not known.
    """
    models = [*stamp.models, *([model] if model and model not in stamp.models else [])]
    with (
        translated("look at the table"),
        connections.apart() as connection,
        connections.transaction(connection),
    ):
        said = [
            *_vectors_without_use(connection, stamp),
            *_column_of_others(connection, stamp, model),
            *_dependents(connection, stamp),
            *_rows_not_made_up(connection, stamp),
            *_what_runs_too(connection, stamp),
            *(line for each in models for line in _without_index(connection, stamp, each)),
        ]
    if connections.pooled:
        said.append(
            "something between hotfill and PostgreSQL drops the start-up parameter `options`: "
            "each transaction sets its settings for itself, which takes a little longer; connect "
            "directly, or let the pooler pass the parameter on"
        )
    return said


def _vectors_without_use(connection: Connection, stamp: PostgresStamp) -> list[str]:
    """Count rows without a vector, zeros, and lengths that the model does not promise."""
    if not stamp.spaces or (stamp.prepared and len(stamp.spaces) > 1):
        return []  # during an upgrade each row has vectors of its own side only
    (space,) = stamp.spaces[:1]
    norm = sql.SQL("{}.{}(i.{})").format(
        sql.Identifier(stamp.extension),
        sql.Identifier("vector_norm" if space.kind == "vector" else "l2_norm"),
        sql.Identifier(space.column),
    )
    parts = {
        "c": sql.Identifier(space.column),
        "norm": norm,
        "items": stamp.items,
        "mine": stamp.of_gallery(),
    }
    rows, vectors, zeros = connection.execute(
        sql.SQL(
            "SELECT count(*), count(i.{c}), count(*) FILTER (WHERE {norm} = 0) FROM {items} i "
            "WHERE {mine}"
        ).format(**parts)
    ).fetchone() or (0, 0, 0)
    said = []
    if rows > vectors:
        said.append(
            f"{rows - vectors:,} of {rows:,} rows have no vector in {space.column}: they are left "
            "out, and become items as soon as a vector is written to them"
        )
    if zeros and space.model.metric == "cosine":
        said.append(
            f"{zeros:,} of {vectors:,} vectors are all zero: they have no direction, are found by "
            "no search and left out of fitting; the upgrade embeds them like others"
        )
    (sampled, other) = connection.execute(
        sql.SQL(
            "SELECT count(*), count(*) FILTER (WHERE n > 0 AND abs(n - 1) > 0.01) "
            "FROM (SELECT {norm} AS n FROM {items} i WHERE i.{c} IS NOT NULL AND {mine} LIMIT %s) s"
        ).format(**parts),
        (_SAMPLED,),
    ).fetchone() or (0, 0)
    if other and space.model.normalised:
        said.append(
            f"{other:,} of {sampled:,} vectors looked at are not of unit length, which "
            f"{space.model} promises: say normalised = false, or name the model that made them"
        )
    return said


def _column_of_others(
    connection: Connection, stamp: PostgresStamp, model: ModelId | None
) -> list[str]:
    """Say what a column of vectors needs whose rows, or whose length, are not all the gallery's."""
    adopted = next((space for space in stamp.spaces if space.adopted), None)
    if adopted is None:
        return []
    said = []
    if model is not None and (why := ddl.what_hinders(connection, stamp, model)):
        said.append(f"`complete` will be refused: {why}")
    if (
        ddl.column_length(connection, stamp) == -1
        and len(_lengths(connection, stamp, sql.SQL("true"))) == 1
    ):
        said.append(
            f"{adopted.column} has no length, so that programs of your own cannot have an index "
            f"of it: ALTER TABLE {stamp.items.as_string()} ALTER COLUMN "
            f"{sql.Identifier(adopted.column).as_string()} TYPE "
            f"{adopted.kind}({adopted.model.dimension})"
        )
    return said


def _dependents(connection: Connection, stamp: PostgresStamp) -> list[str]:
    """Name what keeps a column of vectors from being dropped."""
    said = []
    for space in stamp.spaces:
        taken_over = space.column == stamp.vector_column and not ddl.shares_column(
            connection, stamp
        )
        seen = views.views_of(connection, stamp, space.column) if taken_over else []
        said += [views.statements(view) for view in seen if view.hindrance]
        said += [
            f"view {view.name.as_string()} shows {space.column}: `complete` makes it again, in "
            "the transaction that replaces the vectors"
            for view in seen
            if not view.hindrance
        ]
        of_views = (stamp.items.as_string(), space.column, not taken_over)
        found = connection.execute(_DEPENDENTS, of_views).fetchall()
        if found:
            said.append(
                f"{', '.join(name for (name,) in found)} use {space.column}: this column of "
                "vectors cannot be dropped, and so `complete` cannot be done, before they are "
                "dropped or changed"
            )
    return said


def _rows_not_made_up(connection: Connection, stamp: PostgresStamp) -> list[str]:
    """Name what a new row needs and hotfill does not know."""
    table = f"{stamp.schema}.{stamp.table}"
    known = [
        stamp.id_column,
        stamp.version_column,
        stamp.space_column,
        stamp.origin_column,
        *(column for column, _ in stamp.rows),
        *(space.column for space in stamp.spaces),
    ]
    if stamp.metadata_column is not None:
        known.append(stamp.metadata_column)
    required = [name for (name,) in connection.execute(_REQUIRED, (stamp.items.as_string(), known))]
    why = []
    if stamp.ids_given_out:
        why.append(f"{stamp.id_column} is GENERATED ALWAYS AS IDENTITY")
    if required:
        why.append(f"{', '.join(required)} must not be empty")
    if not why:
        return []
    return [
        f"new rows of {table} have to be inserted by your own statements, which hotfill sees: "
        f"{'; '.join(why)}. Rows that exist can be written through hotfill"
    ]


def _what_runs_too(connection: Connection, stamp: PostgresStamp) -> list[str]:
    """Name triggers that each move fires, and what a partitioned table has to do without."""
    table = stamp.items.as_string()
    said = []
    fired = [name for (name,) in connection.execute(_TRIGGERS, (table,))]
    if fired:
        said.append(
            f"each item that is moved is an UPDATE of its row and fires {', '.join(fired)}: let "
            "them pass over updates that change columns of hotfill only, if that matters"
        )
    if connection.execute(_RELKIND, (table,)).fetchone() == ("p",):
        said.append(
            f"{stamp.schema}.{stamp.table} is partitioned: PostgreSQL cannot build an index of it "
            "while others write, so `optimise` builds none; rows written to a partition by its own "
            "name are counted by `recount` only"
        )
    return said


def _without_index(connection: Connection, stamp: PostgresStamp, model: ModelId) -> list[str]:
    """Say what a search costs where vectors have too many dimensions for an index."""
    if model.dimension <= MOST_INDEXED:
        return []
    rows = connection.execute(
        sql.SQL("SELECT count(*) FROM {} i WHERE {}").format(stamp.items, stamp.is_item)
    ).fetchone() or (0,)
    size = rows[0] * model.dimension * (2 if stamp.half else 4)
    return [
        f"vectors of {model} have {model.dimension:,} dimensions, and pgvector indexes at most "
        f"{MOST_INDEXED:,}: each search reads all {rows[0]:,} of them, {size / 1e6:,.0f} MB"
    ]
