"""Kept vectors in an SQLite file, for stores that cannot keep an unsearched vector cheaply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotfill.stores.sqlite_file import connect, transaction, translated

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (
    item_id TEXT NOT NULL, space TEXT NOT NULL, version INTEGER NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY (item_id, space, version)
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
_MAX_ASKED = 500  # ids in one statement; SQLite allowed 999 parameters for most of its life


class KeptVectors:
    """Vectors by (item, space, content version), durable when a call returns.

    The version is part of the key, so that vectors for content that is about to be written never
    take the place of those for the content that is there. Rows of other versions than the item's
    own are void; they are never returned. So are those of the space where the item is searched.
    Not safe for use by several threads at once; stores hold their lock.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it."""
        self._path = path
        self._may_hold: dict[str, bool] = {}  # by space, as far as it was asked
        with translated(path):
            self._db = connect(path)
            self._db.executescript(_SCHEMA)

    def put(self, rows: Iterable[tuple[str, str, int, NDArray[np.float32]]]) -> None:
        """Keep vectors: (item id, space fingerprint, version, vector); all of them or none."""
        given = [(item, space, version, row.tobytes()) for item, space, version, row in rows]
        if not given:
            return
        self._may_hold.update(dict.fromkeys((space for _, space, _, _ in given), True))
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", given)

    def get(self, space: str, versions: Mapping[str, int]) -> dict[str, NDArray[np.float32]]:
        """Read vectors of items, each at its version; items without one are left out."""
        found = {}
        wanted = list(versions)
        for start in range(0, len(wanted), _MAX_ASKED):
            part = wanted[start : start + _MAX_ASKED]
            marks = ",".join("?" * len(part))
            with translated(self._path):
                rows = self._db.execute(
                    "SELECT item_id, version, vector FROM kept "
                    f"WHERE space = ? AND item_id IN ({marks})",
                    (space, *part),
                ).fetchall()
            for item_id, version, blob in rows:
                if version == versions[item_id]:
                    found[item_id] = np.frombuffer(blob, dtype=np.float32)
        return found

    def may_hold(self, space: str) -> bool:
        """Tell whether there may be vectors of a space; most often there are none."""
        if space not in self._may_hold:
            with translated(self._path):
                one = "SELECT 1 FROM kept WHERE space = ? LIMIT 1"
                self._may_hold[space] = self._db.execute(one, (space,)).fetchone() is not None
        return self._may_hold[space]

    def forget_void(self, items: Mapping[str, tuple[int, str] | None]) -> None:
        """Remove what nobody reads any more of some items.

        items: content version and space where they are searched; None for those that are gone. What
        stays of an item is of that version, and of other spaces.
        """
        with self._transaction() as db:
            db.executemany(
                "DELETE FROM kept WHERE item_id = ?",
                ((item_id,) for item_id, there in items.items() if there is None),
            )
            db.executemany(
                "DELETE FROM kept WHERE item_id = ? AND (version <> ? OR space = ?)",
                ((item_id, *there) for item_id, there in items.items() if there is not None),
            )

    def drop_space(self, space: str) -> None:
        """Remove all vectors of one space."""
        with self._transaction() as db:
            db.execute("DELETE FROM kept WHERE space = ?", (space,))

    @property
    def version_ceiling(self) -> int:
        """No version above this one has been given out; 0 at first."""
        with translated(self._path):
            row = self._db.execute("SELECT value FROM facts WHERE name = 'ceiling'").fetchone()
        return 0 if row is None else int(row[0])

    def raise_ceiling(self, version: int) -> None:
        """Note durably that versions up to this one may have been given out."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES ('ceiling', ?)", (version,))

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._db.close()

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self._db, self._path)
