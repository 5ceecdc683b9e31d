"""Connections to one database: a few, reused, with limits on how long a statement may take.

The database's failures come out in our words, by one table of its error codes.
"""

from __future__ import annotations

import random
import re
import select
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from hotfill.errors import ConfigError, HotfillError, InputError, StoreError, StoreFullError
from hotfill.stores.postgres.values import Binary, BinaryDumper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    Connection = psycopg.Connection[tuple[Any, ...]]

T = TypeVar("T")

_CONNECT_SECONDS = 10
_FREE_SECONDS = 30.0  # how long to wait for one of the connections to become free
_TRIES = 6  # of a transaction that lost against another one
_PAUSE_SECONDS = 0.02
STILL_SECONDS = 15.0
"""How long a process may stand still within a transaction: what it locks keeps all others waiting.
Then the server ends its session, and nothing of the transaction has happened."""

_WITH_DRIVER = re.compile(r"\Apostgres(?:ql)?\+\w+(?=://)")
_MARK = "hotfill.settings"  # set to "on" with the others; gone where a pooler drops them all

# SQLSTATE or its first two characters, and what it means. StoreErrors: may the call succeed later?
_INPUT = {
    "21": "it names something twice",
    "22": "a value cannot be stored",
    "54": "a value is too long",
}
_RETRYABLE = {
    "08": "the connection failed",
    "25P03": f"this process stood still within a transaction, for over {STILL_SECONDS:g} s",
    "40": "others wrote the same rows at the same time",
    "53": "the server lacks resources",
    "55P03": "the table is in use by others",
    "57": "the server stopped the statement",
    "58": "the server's machine failed",
}
_FULL = "53100"
_HINTS = {
    "23502": "the table has columns that must not be empty and that hotfill does not know: write "
    "new items with your own statements, hotfill sees them",
    "2BP01": "drop or change these first, then say the same again",
    "25006": "this server takes no writes: connect to the primary",
    "42501": "grant the right to the user that hotfill connects as",
    "42P01": "the table is gone",
}


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise the HotfillError that fits whatever the database raises."""
    try:
        yield
    except (psycopg.Error, PoolTimeout, PoolClosed, UnicodeEncodeError) as error:
        raise ours(doing, error) from error


def ours(doing: str, error: Exception) -> HotfillError:
    """Make the HotfillError that fits."""
    if isinstance(error, UnicodeEncodeError):
        return InputError(f"could not {doing}: PostgreSQL stores valid Unicode only: {error}")
    if isinstance(error, PoolClosed):
        return StoreError(f"could not {doing}: it is closed")
    if isinstance(error, PoolTimeout):
        return StoreError(f"could not {doing}: no connection became free: {error}", retryable=True)
    code = getattr(error, "sqlstate", None)
    text = str(error).strip()
    if code is None:  # no word from the server: the connection is gone, or never was
        lost = isinstance(error, psycopg.OperationalError)
        if isinstance(error, psycopg.DataError):
            return InputError(f"could not {doing}: {text}")
        return StoreError(f"could not {doing}: {text}", retryable=lost)
    if code == _FULL:
        return StoreFullError(f"could not {doing}: {text}", retryable=True)
    if code[:2] in _INPUT:
        return InputError(f"could not {doing}: {_INPUT[code[:2]]}: {text}")
    why = _RETRYABLE.get(code) or _RETRYABLE.get(code[:2])
    if why is not None:
        return StoreError(f"could not {doing}: {why}: {text}", retryable=True)
    hint = f"; {_HINTS[code]}" if code in _HINTS else ""
    return StoreError(f"could not {doing}: {text}{hint}")


def for_libpq(dsn: str) -> str:
    """Return a connection string as libpq reads it: SQLAlchemy's URLs name a driver, too."""
    return _WITH_DRIVER.sub("postgresql", dsn)


class Connections:
    """A pool of connections in autocommit mode. May be used from several threads.

    dsn: a connection string or URL of libpq, or a URL of SQLAlchemy (postgresql+psycopg://); a
        password is better kept in ~/.pgpass.
    most: connections held at a time. timeout_seconds: of a statement; 0 for none.
    settings: of every session, in addition to those in the dsn.

    Settings travel as the start-up parameter `options`. Poolers are often told to ignore it; then
    each transaction sets them for itself, and statements are not prepared: another transaction
    may be given another session.
    """

    def __init__(
        self, dsn: str, *, most: int, timeout_seconds: float, settings: Mapping[str, str]
    ) -> None:
        """Connect once, and raise StoreError or ConfigError if that fails."""
        if most < 1:
            raise ConfigError(f"connections must be >= 1, got {most}")
        self._settings = {
            _MARK: "on",
            "statement_timeout": str(round(1000 * timeout_seconds)),
            "idle_in_transaction_session_timeout": str(round(1000 * STILL_SECONDS)),
            **settings,
        }
        dsn = for_libpq(dsn)
        try:
            given = conninfo_to_dict(dsn)
        except psycopg.ProgrammingError as error:
            raise ConfigError(f"the dsn cannot be understood: {error}".strip()) from error
        words = [str(given.get("options") or "")]
        words += [f"-c {name}={value}" for name, value in self._settings.items()]
        self.conninfo = make_conninfo(
            dsn,
            options=" ".join(words).strip(),
            connect_timeout=given.get("connect_timeout") or _CONNECT_SECONDS,
            application_name=given.get("application_name") or "hotfill",
        )
        self.pooled = False
        with translated("connect to PostgreSQL"), self.apart():
            pass  # at once, and with the reason if it fails; the pool would try for long
        self._pool = ConnectionPool(
            self.conninfo,
            min_size=1,
            max_size=most,
            timeout=_FREE_SECONDS,
            configure=self._configure,
            check=_check_alive,
            kwargs={"autocommit": True},
            open=True,
        )

    @contextmanager
    def apart(self) -> Iterator[Connection]:
        """Open a connection of its own, for what may take long."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            self._configure(connection)
            yield connection

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """Begin a transaction that has the settings."""
        with connection.transaction():
            if self.pooled:
                names, values = list(self._settings), list(self._settings.values())
                connection.execute(
                    "SELECT set_config(name, value, true) "
                    "FROM unnest(%s::text[], %s::text[]) AS s (name, value)",
                    (names, values),
                )
            yield

    def run(self, doing: str, work: Callable[[Connection], T]) -> T:
        """Do some work that is one transaction, and again if that lost against another one.

        Raises StoreError and its kinds, or InputError; `doing` says what failed.
        """
        with translated(doing):
            for tries_left in reversed(range(_TRIES)):
                try:
                    with self._pool.connection() as connection, self._settled(connection):
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

    def _settled(self, connection: Connection) -> AbstractContextManager[None]:
        """Have the settings: by a transaction only where the session has none."""
        return self.transaction(connection) if self.pooled else nullcontext()

    def _configure(self, connection: Connection) -> None:
        connection.adapters.register_dumper(Binary, BinaryDumper)
        mark = connection.execute("SELECT current_setting(%s, true)", (_MARK,)).fetchone()
        if mark != ("on",):
            self.pooled = True
            connection.prepare_threshold = None


def _check_alive(connection: Connection) -> None:
    """Raise OperationalError when the server has ended a connection that lay idle.

    Whoever is given one that still lives waits for no answer: the server says nothing to an idle
    connection but that it is ended, so only what has something to read is asked.
    """
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    if waiting.poll(0):
        ConnectionPool.check_connection(connection)
