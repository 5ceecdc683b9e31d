"""A stamped table: runs statements by the stamp in force, whoever else changes that stamp."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg

from hotfill.errors import ClosedSideError, StoreError
from hotfill.stores.base import check_space
from hotfill.stores.postgres import inspector, schema
from hotfill.stores.postgres.stamp import PostgresStamp, check_known, check_prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from hotfill.stores.postgres.connections import Connection, Connections
    from hotfill.stores.postgres.inspector import Columns
    from hotfill.stores.postgres.stamp import Rows
    from hotfill.stores.postgres.statements import Statement
    from hotfill.types import ModelId

_ADDED_UP_AFTER = 500  # writes of this process, each of which adds a row or two to the counts
_REBUILDS = 10  # of a statement, while others change the stamp


class Table:
    """The table of a gallery. May be used from several threads.

    stamp: as this process last saw it. Statements notice when it is out of date.
    """

    def __init__(self, connections: Connections, stamp: PostgresStamp) -> None:
        """Use `create`, `adopt` or `open`."""
        self.connections = connections
        self.stamp = stamp
        self._lock, self._stamping = threading.Lock(), threading.Lock()
        self._writes = 0

    @classmethod
    def create(
        cls, connections: Connections, model: ModelId, *, schema_name: str, table: str, half: bool
    ) -> Self:
        """Make an empty table and stamp it."""
        empty = PostgresStamp(
            schema=schema_name,
            table=table,
            id_column="item_id",
            id_type="text",
            metadata_column="metadata",
            spaces=(),
            next_number=1,
            prepared=False,
            counted=True,
            half=half,
        )
        stamp = schema.alone(
            connections,
            f"make the table {schema_name}.{table}",
            schema_name,
            lambda connection: schema.create(connection, empty, model),
        )
        return cls(connections, stamp)

    @classmethod
    def adopt(
        cls,
        connections: Connections,
        model: ModelId,
        columns: Columns,
        *,
        schema_name: str,
        table: str,
        half: bool,
    ) -> Self:
        """Stamp a table that is there, or rows of it, without altering it."""

        def make(connection: Connection) -> PostgresStamp:
            stamp = schema.read_stamp(connection, schema_name, table, columns.rows)
            if stamp is None:
                fresh = inspector.look(
                    connection, model, columns, schema=schema_name, table=table, half=half
                )
                schema.make_bookkeeping(connection, schema_name)
                schema.write_stamp(connection, fresh)
                stamp = schema.read_stamp(connection, schema_name, table, fresh.rows)
                return check_known(stamp, schema_name, table)
            if model not in stamp.models:
                held = ", ".join(map(str, stamp.models)) or "nothing"
                raise StoreError(
                    f"{schema_name}.{table} is stamped already: it holds {held}; open it"
                )
            return stamp

        doing = f"adopt the table {schema_name}.{table}"
        return cls(connections, schema.alone(connections, doing, schema_name, make))

    @classmethod
    def open(
        cls, connections: Connections, *, schema_name: str, table: str, rows: Rows | None
    ) -> Self:
        """Read the stamp of a gallery. Raises StoreError where there is none."""
        stamp = connections.run(
            f"open the table {schema_name}.{table}",
            lambda connection: schema.read_stamp(connection, schema_name, table, rows),
        )
        return cls(connections, check_known(stamp, schema_name, table))

    def reload(self) -> PostgresStamp:
        """Read the stamp again: another process may have changed it."""
        with self._stamping:  # or what was read before a change would be kept after it
            now = self.stamp
            fresh = self.connections.run(
                "read the stamp", lambda c: schema.read_stamp(c, now.schema, now.table, now.rows)
            )
            self.stamp = check_known(fresh, now.schema, now.table)
            return self.stamp

    def stamp_with(self, models: Iterable[ModelId]) -> PostgresStamp:
        """Return the stamp; a fresh one where the known one lacks any of these models."""
        stamp = self.stamp
        return stamp if all(model in stamp.models for model in models) else self.reload()

    def alter(
        self, doing: str, change: Callable[[Connection, PostgresStamp], PostgresStamp]
    ) -> PostgresStamp:
        """Change the stamp, and the table with it, in one transaction."""
        now = self.stamp

        def work(connection: Connection) -> PostgresStamp:
            there = schema.read_stamp(connection, now.schema, now.table, now.rows)
            return change(connection, check_known(there, now.schema, now.table))

        changed = schema.alone(self.connections, doing, now.schema, work)
        with self._stamping:
            self.stamp = changed
        return changed

    def ask(
        self, doing: str, models: tuple[ModelId, ...], build: Callable[[PostgresStamp], Statement]
    ) -> tuple[PostgresStamp, list[tuple[Any, ...]]]:
        """Run a statement built for the stamp in force; return that stamp and the rows.

        models: that the stamp must have.
        """
        for _ in range(_REBUILDS):
            stamp = self.stamp_with(models)
            for model in models:
                check_space(stamp.models, model)
            try:
                statement = build(stamp)
            except ClosedSideError:
                if self.reload().revision == stamp.revision:
                    raise
                continue
            rows = self._rows(doing, statement, stamp)
            if rows is not None:
                return stamp, rows
            self.reload()
        raise StoreError(f"could not {doing}: the gallery's spaces keep changing", retryable=True)

    def write(
        self, doing: str, models: tuple[ModelId, ...], build: Callable[[PostgresStamp], Statement]
    ) -> list[tuple[Any, ...]]:
        """Run a statement that writes, and return its rows. Raises StoreError if unprepared."""

        def prepared(stamp: PostgresStamp) -> Statement:
            check_prepared(stamp)
            return build(stamp)

        _, rows = self.ask(doing, models, prepared)
        with self._lock:
            self._writes += 1
            many = self._writes % _ADDED_UP_AFTER == 0
        if many:
            self.connections.run("add up counts", lambda c: schema.add_up(c, self.stamp))
        return rows

    def _rows(
        self, doing: str, statement: Statement, stamp: PostgresStamp
    ) -> list[tuple[Any, ...]] | None:
        """Return the rows of a statement; None when the stamp was out of date."""
        try:
            return self.connections.run(doing, lambda c: statement.rows_by(c, stamp))
        except StoreError as error:
            # A column that was dropped. If not, the stamp is what it was.
            dropped = isinstance(error.__cause__, psycopg.errors.UndefinedColumn)
            if dropped and self.reload().revision != stamp.revision:
                return None
            raise
