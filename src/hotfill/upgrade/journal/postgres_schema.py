"""The schema of a journal in PostgreSQL: opened with care, asked again while the server is away."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import sql

from hotfill.errors import JournalError, StoreError, StoreFullError
from hotfill.stores.postgres.connections import Connections
from hotfill.stores.postgres.stamp import check_name
from hotfill.upgrade.journal import postgres_tables as tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hotfill.stores.postgres.connections import Connection

T = TypeVar("T")

STEPS = 0x686F7468
"""Advisory lock: to change the phase."""

_CONNECTIONS = 4
_TIMEOUT_SECONDS = 60.0
_RETRY_SECONDS = (0.2, 1.0, 5.0)  # waits between tries when the server is away for a moment
# A coordinator's machine that vanishes is noticed within half a minute, and its lock is freed.
_ALIVE = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
}


class JournalSchema:
    """One schema on one server, its tables made when missing. Raises as `PostgresJournal`."""

    def __init__(self, dsn: str, name: str) -> None:
        check_name("the journal's schema", name)
        self.name = name
        with translated(name):
            self.connections = Connections(
                dsn, most=_CONNECTIONS, timeout_seconds=_TIMEOUT_SECONDS, settings=_ALIVE
            )
            try:
                self.connections.run("open the journal", self._open)
            except BaseException:
                self.connections.close()
                raise

    def _open(self, connection: Connection) -> None:
        with connection.transaction():
            self.lock(connection, STEPS)
            connection.execute(self.sql("CREATE SCHEMA IF NOT EXISTS {schema}"))
            made = connection.execute(
                "SELECT relname = 'journal' FROM pg_class WHERE relnamespace = to_regnamespace(%s) "
                "AND relkind = 'r' ORDER BY 1 DESC LIMIT 1",
                (sql.Identifier(self.name).as_string(),),
            ).fetchone()
            if made is None:
                text = tables.TABLES.replace("%(format)s", str(tables.FORMAT))
                connection.execute(self.sql(text))
            elif not made[0]:
                raise JournalError(
                    f"the schema {self.name!r} holds other tables: give the journal its own"
                )
            form = connection.execute(self.sql("SELECT format FROM {schema}.journal")).fetchone()
            if form != (tables.FORMAT,):
                raise JournalError(
                    f"the schema {self.name!r} has journal format {form and form[0]}, this "
                    f"hotfill reads {tables.FORMAT}; use the version of hotfill that started the "
                    "upgrade"
                )

    def lock(self, connection: Connection, which: int) -> None:
        """Hold an advisory lock of this schema until the transaction ends."""
        connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (which, self.name))

    def sql(self, text: str) -> sql.Composed:
        """Put the schema's name where a statement says {schema}."""
        return sql.SQL(text).format(schema=sql.Identifier(self.name))

    def read(self, statement: str, values: Any) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""
        return self.run(lambda c: c.execute(self.sql(statement), values).fetchall())

    def write(self, statement: str, values: Any) -> int:
        """Run one statement and tell how many rows it wrote."""
        return self.run(lambda c: c.execute(self.sql(statement), values).rowcount)

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do some work, and again while the server is away; doing it twice is harmless."""
        with translated(self.name):
            for seconds in _RETRY_SECONDS:
                try:
                    return self.connections.run("use the journal", work)
                except StoreFullError:
                    raise
                except StoreError as error:
                    if not error.retryable:
                        raise
                    time.sleep(seconds)
            return self.connections.run("use the journal", work)


@contextmanager
def translated(schema: str) -> Iterator[None]:
    """Turn the server's errors into ours."""
    try:
        yield
    except StoreFullError:
        raise
    except (StoreError, psycopg.Error) as error:
        raise JournalError(f"the journal {schema!r}: {error}") from error
