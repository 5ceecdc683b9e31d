"""A small SQLite file that threads and processes share, and that any of them may die over."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotfill.errors import ConfigError, EmbedError
from hotfill.sqlite import BUSY_SECONDS, log_ahead, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class SqliteFile:
    """One file with its tables, made when missing.

    what: its word in messages. application: four bytes that mark files of this kind. tables: SQL.
    Raises ConfigError when the file is something else or is damaged. Using it raises a retryable
    EmbedError when the disk is full or the file stays locked.

    Write-ahead logging lets readers and a writer work at once; every commit reaches the disk.
    """

    def __init__(self, path: Path, *, what: str, application: int, tables: str) -> None:
        self.path = path
        self._what = what
        self._application = application
        self._tables = tables
        self._lock = threading.RLock()
        self._connect()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for a block whose changes are kept whole or not at all."""
        with self._connection() as db, transaction(db):
            yield db

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for a block that only reads."""
        with self._connection() as db:
            yield db

    def close(self) -> None:
        """Release the file. Again is harmless."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._process != os.getpid():
                self._connect()  # a connection must not be used on both sides of a fork
            try:
                yield self._db
            except sqlite3.ProgrammingError as error:
                raise EmbedError(
                    f"the {self._what} {self.path} is closed", retryable=False
                ) from error
            except sqlite3.OperationalError as error:
                raise EmbedError(f"the {self._what} {self.path} cannot be used: {error}") from error
            except sqlite3.DatabaseError as error:  # no item is at fault, so it is not said of one
                raise EmbedError(str(self._damaged(error))) from error

    def _connect(self) -> None:
        self._process = os.getpid()
        try:
            self._db = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._make_ready()
            except BaseException:
                self._db.close()
                raise
        except sqlite3.OperationalError as error:
            raise ConfigError(
                f"the {self._what} {self.path} cannot be opened: {error}; check that the folder "
                "exists and may be written to"
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def _make_ready(self) -> None:
        run = self._db.execute
        if run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._check_mark()  # before anything is written to a file that is not ours
        log_ahead(self._db)
        run("PRAGMA synchronous = FULL")
        with transaction(self._db):
            if not run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in self._tables.split(";"):
                    run(statement)
                run(f"PRAGMA application_id = {self._application}")
        self._check_mark()

    def _check_mark(self) -> None:
        (mark,) = self._db.execute("PRAGMA application_id").fetchone()
        if mark != self._application:
            raise sqlite3.DatabaseError("it is a database of another kind")

    def _damaged(self, error: sqlite3.DatabaseError) -> ConfigError:
        return ConfigError(
            f"{self.path} cannot be used (expected: {self._what}): {error}; it was left as it "
            "is: name another file, or move this one away to begin a new one"
        )
