"""An SQLite file of a store: transactions, and its failures in our words."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotfill.errors import InputError, StoreError, StoreFullError
from hotfill.sqlite import connect as new_connection
from hotfill.sqlite import log_ahead
from hotfill.sqlite import transaction as whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def connect(path: Path) -> sqlite3.Connection:
    """Open a file, or make it, so that a commit survives the end of the process and of power."""
    db = new_connection(path)
    log_ahead(db)
    db.execute("PRAGMA synchronous = FULL")
    return db


@contextmanager
def transaction(db: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """Do all that is done inside, or nothing of it."""
    with translated(path), whole(db):
        yield db


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise StoreError, or the kind of it that fits, for whatever SQLite raises."""
    try:
        yield
    except UnicodeError as error:
        raise InputError(f"{path}: only valid Unicode is stored: {error}") from error
    except sqlite3.Error as error:
        if "full" in str(error):
            raise StoreFullError(f"no space left for {path}", retryable=True) from error
        raise StoreError(f"{path}: {error}") from error
