"""What every SQLite file of ours does alike: how it is opened, made, and written to."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_SECONDS = 30.0
"""How long a statement waits for another process."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What files of one kind hold.

    application: marks them, in SQLite's application_id. form: of the tables, in user_version.
    tables: the statements that make them.
    """

    application: int
    form: int
    tables: str


class OtherFormError(sqlite3.DatabaseError):
    """A file of the right kind, written by another version. form: of its tables."""

    def __init__(self, form: int) -> None:
        super().__init__(f"its tables have form {form}")
        self.form = form


def connect(path: Path) -> sqlite3.Connection:
    """Open a file, or make it. Only `transaction` opens transactions; threads take turns."""
    return sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )


def make_ready(db: sqlite3.Connection, layout: Layout) -> None:
    """Make the tables of a new file, or see that a file that is there is of this kind.

    What is not is left as it is: raises OtherFormError, and DatabaseError for anything else.
    """
    if not _is_blank(db):
        _check_marks(db, layout)  # before anything is written to a file that is not ours
    log_ahead(db)
    if _is_blank(db):
        with transaction(db):
            if _is_blank(db):  # still: another process may have been quicker
                for statement in layout.tables.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {layout.application}")
                db.execute(f"PRAGMA user_version = {layout.form}")
    _check_marks(db, layout)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Do all that is done inside, or nothing of it; the lock to write is taken at once.

    db: with `isolation_level=None`. After a failure, of the commit too, no transaction is open.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk may have ended it already
            db.execute("ROLLBACK")
        raise


def log_ahead(db: sqlite3.Connection) -> None:
    """Let readers and a writer work at once, in this process and in others."""
    # Alone of all statements this one does not wait while another process makes the file.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _marks(db: sqlite3.Connection) -> tuple[int, int]:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (form,) = db.execute("PRAGMA user_version").fetchone()
    return application, form


def _is_blank(db: sqlite3.Connection) -> bool:
    return _marks(db) == (0, 0) and not db.execute("SELECT 1 FROM sqlite_master").fetchone()


def _check_marks(db: sqlite3.Connection, layout: Layout) -> None:
    application, form = _marks(db)
    if application != layout.application:
        raise sqlite3.DatabaseError("it is a database of another kind")
    if form != layout.form:
        raise OtherFormError(form)
