"""The SQLite file of a journal: opened with care, written in transactions, its errors ours."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hotfill.errors import JournalCorruptError, JournalError, StoreFullError
from hotfill.sqlite import Layout, OtherFormError, connect, make_ready, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_LAYOUT = Layout(
    application=0x686F7466,  # "hotf"
    form=1,
    tables="""
CREATE TABLE facts (number INTEGER PRIMARY KEY, at REAL, kind TEXT, body TEXT);
CREATE INDEX facts_by_kind ON facts (kind, number);
CREATE TABLE holds (kind TEXT, about TEXT, since REAL, measured REAL, required REAL,
                    PRIMARY KEY (kind, about));
CREATE TABLE batches (number INTEGER PRIMARY KEY AUTOINCREMENT, stage TEXT, state TEXT,
                      item_ids TEXT, items INTEGER, attempts INTEGER, owner TEXT,
                      leased_until REAL, moved INTEGER DEFAULT 0,
                      skipped INTEGER DEFAULT 0);
CREATE INDEX batches_to_do ON batches (stage, number) WHERE state != 'done';
CREATE INDEX batches_leased ON batches (owner) WHERE state = 'leased';
CREATE INDEX batches_by_stage ON batches (stage, number, items, moved, skipped);
CREATE TABLE dead_letters (item_id TEXT PRIMARY KEY, stage TEXT, error TEXT, attempts INTEGER,
                           at REAL);
CREATE TABLE deleted (item_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE beat (only INTEGER PRIMARY KEY CHECK (only = 0), body TEXT);
""",
)


class JournalFile:
    """One file. Safe to use from several threads.

    db: the connection, for statements inside a `transaction`.
    Raises as `SqliteJournal`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        with self._translated():
            self.db = connect(path)
            try:
                self._open()
            except BaseException:
                self.db.close()
                raise

    def _open(self) -> None:
        make_ready(self.db, _LAYOUT)
        self.db.execute("PRAGMA synchronous = NORMAL")
        if self.db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("the quick check failed")

    def close(self) -> None:
        """Release the file. Idempotent."""
        with self._lock:
            self.db.close()

    def read(self, statement: str, values: Sequence[Any]) -> list[Any]:
        """Run one statement and return all its rows."""
        with self._lock, self._translated():
            return self.db.execute(statement, values).fetchall()

    def write(self, statement: str, values: Sequence[Any]) -> int:
        """Run one statement and tell how many rows it wrote."""
        with self._lock, self._translated():
            return self.db.execute(statement, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a block as a whole or not at all; a block inside another joins it."""
        with self._lock, self._translated():
            if self.db.in_transaction:
                yield
                return
            # IMMEDIATE: take the write lock now, so that what is read here is still true when
            # this block writes, even with a second process at work.
            with transaction(self.db):
                yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StoreFullError(
                    f"no space left for the journal {self._path}; free some and run the same "
                    "command again: nothing is lost"
                ) from error
            raise JournalError(f"the journal {self._path} cannot be used: {error}") from error
        except sqlite3.ProgrammingError as error:
            raise JournalError(f"the journal {self._path} is closed") from error
        except OtherFormError as error:
            raise JournalError(
                f"{self._path} has journal format {error.form}, this hotfill reads {_LAYOUT.form}; "
                "use the version of hotfill that started the upgrade"
            ) from error
        except sqlite3.DatabaseError as error:
            raise JournalCorruptError(
                f"{self._path} is not a readable journal ({error}); nothing was changed. The items "
                "themselves are safe in the store: move this file away and run `hotfill start` "
                "again, items already moved are recognised and not embedded twice"
            ) from error
