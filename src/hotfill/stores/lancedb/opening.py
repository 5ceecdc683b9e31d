"""The folder of a database, the lock of a table, and the table itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hotfill.errors import InputError, StoreError
from hotfill.extras import need
from hotfill.stores.lancedb.failures import translated


def checked_folder(path: str | Path) -> Path:
    """Return the folder of a database. Raises InputError for one that is not on a disk."""
    if "://" in str(path):
        raise InputError(
            f"{path}: this store keeps to folders on a local disk, where it can lock the table; "
            "object storage has no such lock"
        )
    return Path(path)


def lock_folder(folder: Path, table: str) -> Path:
    """Make the folder next to a table in which its lock lies."""
    beside = folder / f"{table}.hotfill"
    beside.mkdir(exist_ok=True)
    return beside


def connect(folder: Path) -> Any:
    """Open the database in a folder."""
    with translated("open the database"):
        return need("lancedb", "lancedb").connect(str(folder))


def has_table(folder: Path, table: str) -> bool:
    """Tell whether a database has a table."""
    return (folder / f"{table}.lance").is_dir()


def open_table(database: Any, folder: Path, table: str) -> Any:
    """Open the newest version of a table. Raises StoreError when there is none."""
    with translated("open the table"):
        if not has_table(folder, table):
            raise StoreError(f"{folder} has no table {table!r}")
        return database.open_table(table)
