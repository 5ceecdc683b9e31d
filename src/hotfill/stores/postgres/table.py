"""A stamped table: runs statements by the stamp in force, whoever else changes it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg

from hotfill.errors import StoreError
from hotfill.stores.inputs import check_space
from hotfill.stores.postgres import schema
from hotfill.stores.postgres.failures import translated

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.stores.postgres.connections import Connection, Connections
    from hotfill.stores.postgres.stamp import Stamp
    from hotfill.stores.postgres.statement import Statement
    from hotfill.types import ModelId

_ADDED_UP_AFTER = 500  # writes of this process, each of which adds a row or two to the counts
_REBUILDS = 10  # of a statement, while others change the stamp


class Table:
    """The table of a gallery. May be used from several threads.

    stamp: as this process last saw it. Statements notice when it is out of date.
    """

    def __init__(self, connections: Connections, stamp: Stamp) -> None:
        self.connections = connections
        self.stamp = stamp
        self._lock = threading.Lock()
        self._writes = 0

    def reload(self) -> Stamp:
        """Read the stamp again: another process may have changed it."""
        now = self.stamp
        fresh = self.connections.run(
            "read the stamp", lambda c: schema.read_stamp(c, now.schema, now.table)
        )
        self.stamp = known(fresh, now.schema, now.table)
        return self.stamp

    def stamp_with(self, *models: ModelId) -> Stamp:
        """Return the stamp; a fresh one where the known one lacks a model.

        Raises ModelMismatchError when that one lacks it too.
        """
        stamp = self.stamp
        if all(model in stamp.models for model in models):
            return stamp
        stamp = self.reload()
        for model in models:
            check_space(stamp.models, model)
        return stamp

    def alter(self, doing: str, change: Callable[[Connection, Stamp], Stamp]) -> Stamp:
        """Change the stamp, and the table with it, in one transaction."""
        now = self.stamp

        def work(connection: Connection) -> Stamp:
            there = schema.read_stamp(connection, now.schema, now.table)
            return change(connection, known(there, now.schema, now.table))

        with translated(doing), self.connections.apart() as connection:
            self.stamp = schema.alone(connection, now.schema, lambda: work(connection))
        return self.stamp

    def ask(
        self, doing: str, models: tuple[ModelId, ...], build: Callable[[Stamp], Statement]
    ) -> tuple[Stamp, list[tuple[Any, ...]]]:
        """Run a statement built for the stamp in force; give that stamp and the rows.

        models: that the stamp must have.
        """
        for _ in range(_REBUILDS):
            stamp = self.stamp_with(*models)
            rows = self._rows(doing, build(stamp), stamp)
            if rows is not None:
                return stamp, rows
            self.reload()
        raise StoreError(f"could not {doing}: the gallery's spaces keep changing", retryable=True)

    def write(
        self, doing: str, models: tuple[ModelId, ...], build: Callable[[Stamp], Statement]
    ) -> list[tuple[Any, ...]]:
        """Run a statement that writes, and give its rows. Raises StoreError if unprepared."""

        def prepared(stamp: Stamp) -> Statement:
            check_prepared(stamp)
            return build(stamp)

        _, rows = self.ask(doing, models, prepared)
        with self._lock:
            self._writes += 1
            many = self._writes % _ADDED_UP_AFTER == 0
        if many:
            self.connections.run("add up counts", lambda c: schema.add_up(c, self.stamp))
        return rows

    def _rows(self, doing: str, statement: Statement, stamp: Stamp) -> list[tuple[Any, ...]] | None:
        """Give the rows of a statement; None when the stamp was out of date."""
        text, values = statement.whole(stamp)

        def run(connection: Connection) -> list[tuple[Any, ...]]:
            return connection.execute(text, values, binary=True).fetchall()

        try:
            rows = self.connections.run(doing, run)
        except StoreError as error:
            # A column that was dropped since. If not, the stamp is what it was.
            dropped = isinstance(error.__cause__, psycopg.errors.UndefinedColumn)
            if dropped and self.reload().revision != stamp.revision:
                return None
            raise
        if not rows:
            raise StoreError(f"{stamp.schema}.{stamp.table} is no longer stamped")
        if rows[0][0] != stamp.revision:
            return None
        # A row without values stands for no row at all: the revision always comes.
        return [row[1:] for row in rows if len(row) > 1 and row[1] is not None]


def known(stamp: Stamp | None, schema_name: str, table: str) -> Stamp:
    """Return a stamp. Raises StoreError where there is none."""
    if stamp is None:
        raise StoreError(
            f"{schema_name}.{table} is not a hotfill gallery: adopt the table, or create a gallery"
        )
    return stamp


def check_prepared(stamp: Stamp) -> None:
    """Raise StoreError while an adopted table is as it was."""
    if not stamp.prepared:
        raise StoreError(
            f"{stamp.schema}.{stamp.table} was adopted and is still as it was: it can be read and "
            "searched; add_space of another model adds what writing needs"
        )
