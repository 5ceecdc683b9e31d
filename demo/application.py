"""The application around the gallery: its own database says what every item shows.

As in a real service the database is written first, then the gallery. A row stays `dirty` between
the two, so that a write cut off by a kill is given to the gallery again when the service is back.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from demo.omniglot import drawings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

GALLERY_DRAWERS = range(1, 17)  # whose drawings fill the gallery at first
LIVE_DRAWERS = range(17, 19)  # whose drawings arrive while the upgrade runs
QUERY_DRAWERS = range(19, 21)  # whose drawings are searched with, and are never stored


class Application:
    """What the service knows of its items: which drawing each one shows.

    path: an SQLite file, made when missing.
    """

    def __init__(self, path: Path) -> None:
        self.drawings = drawings.load("evaluation")
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS items "
            "(item_id TEXT PRIMARY KEY, drawing INTEGER, dirty INTEGER, deleted INTEGER)"
        )

    def rows_of(self, drawers: range) -> NDArray[np.int64]:
        """Give the positions of some people's drawings."""
        return np.flatnonzero(np.isin(self.drawings.drawers, list(drawers)))

    def fill(self) -> list[str]:
        """Note the first items of the gallery; returns their ids."""
        rows = self.rows_of(GALLERY_DRAWERS)
        ids = [self.drawings.item_ids[row] for row in rows]
        with self._lock:
            self._db.execute("BEGIN")
            self._db.executemany(
                "INSERT INTO items VALUES (?, ?, 0, 0)", zip(ids, rows.tolist(), strict=True)
            )
            self._db.execute("COMMIT")
        return ids

    def show(self, item_id: str, drawing: int) -> None:
        """Note what an item shows from now on, before the gallery is told."""
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO items VALUES (?, ?, 1, 0)", (item_id, int(drawing))
            )

    def delete(self, item_id: str) -> None:
        """Note that an item is gone, before the gallery is told."""
        with self._lock:
            self._db.execute(
                "UPDATE items SET dirty = 1, deleted = 1 WHERE item_id = ?", (item_id,)
            )

    def told(self, item_id: str) -> None:
        """Note that the gallery was told."""
        with self._lock:
            self._db.execute("UPDATE items SET dirty = 0 WHERE item_id = ?", (item_id,))

    def dirty(self) -> list[tuple[str, int, bool]]:
        """List what the gallery may not have been told: id, drawing, whether deleted."""
        with self._lock:
            rows = self._db.execute("SELECT item_id, drawing, deleted FROM items WHERE dirty")
            return [(item_id, drawing, bool(deleted)) for item_id, drawing, deleted in rows]

    def shown(self) -> dict[str, int]:
        """Give the drawing of every item that is not deleted."""
        with self._lock:
            rows = self._db.execute("SELECT item_id, drawing FROM items WHERE NOT deleted")
            return dict(rows.fetchall())

    def __call__(self, item_ids: Sequence[str]) -> Mapping[str, NDArray[np.bool_]]:
        """Be the source of contents: the drawing of each item."""
        marks = ",".join("?" * len(item_ids))
        with self._lock:
            rows = self._db.execute(
                f"SELECT item_id, drawing FROM items WHERE NOT deleted AND item_id IN ({marks})",
                list(item_ids),
            ).fetchall()
        found = dict(rows)
        return {i: self.drawings.images[found[i]] for i in item_ids if i in found}
