"""What the engine opens: the folder of a database, a table of it, and the lock for that table."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotfill.errors import HotfillError, InputError, StoreError, StoreFullError
from hotfill.extras import need
from hotfill.stores.failures import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotfill.stores.failures import Sayings

_TABLE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def checked_folder(path: str | Path, table: str) -> Path:
    """Return the folder of a database.

    Raises InputError for one that is not on a disk, and for the name of a table that leads
    elsewhere.
    """
    if "://" in str(path):
        raise InputError(
            f"{path}: this store keeps to folders on a local disk, where it can lock the table; "
            "object storage has no such lock"
        )
    if not _TABLE_NAME.fullmatch(table):
        raise InputError(
            f"a table is called by letters, digits, '_', '-' and '.', not first; got {table!r}"
        )
    return Path(path)


def existing_table(path: str | Path, table: str) -> Path:
    """Return the folder of a database that has a table. Raises StoreError when it has none."""
    folder = checked_folder(path, table)
    if not folder.is_dir():
        raise StoreError(f"there is no folder {folder}")
    _check_table(folder, table)
    return folder


def _check_table(folder: Path, table: str) -> None:
    if not has_table(folder, table):
        raise StoreError(f"{folder} has no table {table!r}")


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
    """Open the newest version of a table, whose lock is held. Raises StoreError when there is none.

    A version that a full disk or a power cut has left half-written is passed over: the engine
    refuses the whole table for it, and nobody was told that what is in it is kept.
    """
    with translated("open the table"):
        _check_table(folder, table)
        try:
            return database.open_table(table)
        except Exception:
            if not _set_aside_half_written(folder / f"{table}.lance" / "_versions"):
                raise
            return database.open_table(table)


_MAGIC = b"LANC"  # the last bytes of every whole file of the format


def _set_aside_half_written(versions: Path) -> bool:
    """Rename versions that are not whole, so that the engine takes the one before, if there is."""
    found = sorted(versions.glob("*.manifest"))
    broken = [path for path in found if not path.read_bytes().endswith(_MAGIC)]
    if len(broken) == len(found):
        return False
    for path in broken:
        path.rename(path.with_suffix(".half-written"))
    return bool(broken)


_SAYINGS: Sayings = (  # the engine raises bare exceptions, so the text decides
    ("No space left on device", StoreFullError, True),
    ("StorageFull", StoreFullError, True),
    ("commit conflict", StoreError, True),  # another program wrote to the table
    ("concurrent", StoreError, True),
    ("Too many open files", StoreError, True),
)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise StoreError, or the kind of it that fits, for whatever the engine raises."""
    try:
        yield
    except HotfillError:
        raise
    except UnicodeError as error:
        raise InputError(f"could not {doing}: only valid Unicode is stored: {error}") from error
    except Exception as error:
        raise told(doing, str(error), _SAYINGS) from error
