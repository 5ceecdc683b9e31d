"""A small SQLite file that threads and processes share, and that any of them may die over."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotfill.errors import ConfigError, EmbedError
from hotfill.sqlite import connect, make_ready, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hotfill.sqlite import Layout


class SqliteFile:
    """One file with its tables, made when missing.

    what: its word in messages. layout: what it holds.
    Raises ConfigError when the file is something else or is damaged. Using it raises a retryable
    EmbedError when the disk is full or the file stays locked.

    Write-ahead logging lets readers and a writer work at once; every commit reaches the disk.
    """

    def __init__(self, path: Path, *, what: str, layout: Layout) -> None:
        self.path = path
        self._what = what
        self._layout = layout
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
        """Release the file. Idempotent."""
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
            self._db = connect(self.path)
            try:
                make_ready(self._db, self._layout)
                self._db.execute("PRAGMA synchronous = FULL")
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

    def _damaged(self, error: sqlite3.DatabaseError) -> ConfigError:
        return ConfigError(
            f"{self.path} cannot be used (expected: {self._what}): {error}; it was left as it "
            "is: name another file, or move this one away to begin a new one"
        )
