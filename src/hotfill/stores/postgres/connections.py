"""Connections to one database: a few, reused, with limits on how long a statement may take."""

from __future__ import annotations

import random
import select
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool

from hotfill.errors import ConfigError, StoreError
from hotfill.stores.postgres.failures import translated
from hotfill.stores.postgres.wire import Binary, BinaryDumper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Connection = psycopg.Connection[tuple[Any, ...]]

T = TypeVar("T")

_CONNECT_SECONDS = 10
_FREE_SECONDS = 30.0  # how long to wait for one of the connections to become free
_TRIES = 6  # of a transaction that lost against another one
_PAUSE_SECONDS = 0.02


class Connections:
    """A pool of connections in autocommit mode. May be used from several threads.

    dsn: a connection string or URL of libpq; a password is better kept in ~/.pgpass.
    most: connections held at a time. timeout_seconds: of a statement; 0 for none.
    settings: of every session, in addition to those in the dsn.
    """

    def __init__(
        self, dsn: str, *, most: int, timeout_seconds: float, settings: Mapping[str, str]
    ) -> None:
        if most < 1:
            raise ConfigError(f"connections must be >= 1, got {most}")
        options = {"statement_timeout": str(round(1000 * timeout_seconds)), **settings}
        try:
            given = conninfo_to_dict(dsn)
        except psycopg.ProgrammingError as error:
            raise ConfigError(f"the dsn cannot be understood: {error}".strip()) from error
        words = [str(given.get("options") or "")]
        words += [f"-c {name}={value}" for name, value in options.items()]
        self.conninfo = make_conninfo(
            dsn,
            options=" ".join(words).strip(),
            connect_timeout=given.get("connect_timeout") or _CONNECT_SECONDS,
            application_name=given.get("application_name") or "hotfill",
        )
        with translated("connect to PostgreSQL"), self.apart():
            pass  # at once, and with the reason if it fails; the pool would try for long
        self._pool = ConnectionPool(
            self.conninfo,
            min_size=1,
            max_size=most,
            timeout=_FREE_SECONDS,
            configure=_configured,
            check=_not_ended,
            kwargs={"autocommit": True},
            open=True,
        )

    @contextmanager
    def apart(self) -> Iterator[Connection]:
        """Open a connection of its own, for what may take long."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            _configured(connection)
            yield connection

    def run(self, doing: str, work: Callable[[Connection], T]) -> T:
        """Do some work that is one transaction, and again if that lost against another one.

        Raises StoreError and its kinds, or InputError; `doing` says what failed.
        """
        with translated(doing):
            for tries_left in reversed(range(_TRIES)):
                try:
                    with self._pool.connection() as connection:
                        return work(connection)
                except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                    if not tries_left:
                        raise
                    time.sleep(_PAUSE_SECONDS * random.random())
                except psycopg.OperationalError as error:
                    if error.sqlstate is None or error.sqlstate.startswith("57P"):
                        self._pool.check()  # what ended this connection may have ended others
                    raise
        raise StoreError(f"could not {doing}")  # not reached: the last try returns or raises

    def close(self) -> None:
        """Close all. Idempotent."""
        self._pool.close()


def _not_ended(connection: Connection) -> None:
    """Raise OperationalError when the server has ended a connection that lay idle.

    Whoever is given one that still lives waits for no answer: the server says nothing to an idle
    connection but that it is ended, so only what has something to read is asked.
    """
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    if waiting.poll(0):
        ConnectionPool.check_connection(connection)


def _configured(connection: Connection) -> None:
    connection.adapters.register_dumper(Binary, BinaryDumper)
