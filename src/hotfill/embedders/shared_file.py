"""A small SQLite file that embedders of several processes share; any of them may die over it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from hotfill.errors import ConfigError, EmbedError
from hotfill.sqlite import SqliteFile

if TYPE_CHECKING:
    from pathlib import Path

    from hotfill.sqlite import TableLayout


def shared_file(path: Path, what: str, layout: TableLayout) -> SqliteFile:
    """Open a file, or make it; every commit reaches the disk.

    what: its word in messages. Raises ConfigError when the file is something else or is damaged.
    Using it raises EmbedError: retryable when the disk is full or the file stays locked.
    """

    def translate(error: sqlite3.Error, opening: bool) -> Exception:
        if isinstance(error, sqlite3.ProgrammingError):
            return EmbedError(f"the {what} {path} is closed", retryable=False)
        if isinstance(error, sqlite3.OperationalError):
            if opening:
                return ConfigError(
                    f"the {what} {path} cannot be opened: {error}; check that the folder exists "
                    "and may be written to"
                )
            return EmbedError(f"the {what} {path} cannot be used: {error}")
        damaged = (
            f"{path} cannot be used (expected: {what}): {error}; nothing was changed: name another "
            "file, or move this one away to begin a new one"
        )
        # In use no item is at fault, so it is not said of one.
        return ConfigError(damaged) if opening else EmbedError(damaged)

    return SqliteFile(path, layout, translate, durable=True)
