"""What every SQLite file of ours does alike: transactions, and write-ahead logging."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY_SECONDS = 30.0
"""How long a statement waits for another process."""


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
