"""The application's own database of contents, its two models, and its configuration file.

A content is an item's id and version, written here before it is written to the gallery, as an
application does. This database stands for another machine: no fault strikes it.
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import tomli_w

from hotfill.types import ModelId

WIDTH = 8
OLD, NEW, THIRD = ModelId("old", "1", 6), ModelId("new", "1", 8), ModelId("third", "1", 7)
_NAME = "shop.sqlite"


def content(item_id: str, version: int) -> np.ndarray:
    """What the models read of a version of an item."""
    seed = zlib.crc32(f"{item_id}:{version}".encode())
    return np.random.default_rng(seed).normal(size=WIDTH).astype(np.float32)


class Model:
    """A fixed random projection. hangs_at: the batch that never returns; 0: none."""

    def __init__(self, model_id: ModelId, seconds: float = 0.0, hangs_at: int = 0) -> None:
        self.model_id = model_id
        self._seconds, self._hangs_at, self._calls = seconds, hangs_at, 0

    def __call__(self, contents):
        if len(contents) > 1:  # a batch of the upgrade, not a search or a write
            self._calls += 1
            time.sleep(3600 if self._calls == self._hangs_at else self._seconds)
        rows = np.stack([np.asarray(each, np.float32) for each in contents])
        shape = (WIDTH, self.model_id.dimension)
        made = rows @ np.random.default_rng(self.model_id.dimension).normal(size=shape)
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


class Shop:
    """Contents by item id. Any process may open it, and any thread may ask it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        with closing(self._open()) as db, db:
            db.execute("CREATE TABLE IF NOT EXISTS items (item_id TEXT PRIMARY KEY, version INT)")

    def put(self, item_id: str, version: int) -> None:
        with closing(self._open()) as db, db:
            db.execute("INSERT OR REPLACE INTO items VALUES (?, ?)", (item_id, version))

    def remove(self, item_id: str) -> None:
        with closing(self._open()) as db, db:
            db.execute("DELETE FROM items WHERE item_id = ?", (item_id,))

    def __call__(self, item_ids):
        marks = ",".join("?" * len(item_ids))
        with closing(self._open()) as db:
            rows = db.execute(
                f"SELECT item_id, version FROM items WHERE item_id IN ({marks})", list(item_ids)
            ).fetchall()
        return {item_id: content(item_id, version) for item_id, version in rows}

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=60)


# Factories that the configuration names ----------------------------------------------------------


def old_model() -> Model:
    return Model(OLD)


def new_model(seconds: float = 0.0) -> Model:
    return Model(NEW, seconds, hangs.at)


def third_model(seconds: float = 0.0) -> Model:
    return Model(THIRD, seconds, hangs.at)


class hangs:  # noqa: N801  a place, set in the process that is to hang
    at = 0


def source(folder: str) -> Shop:
    return Shop(Path(folder))


def write_config(
    path: Path,
    shop: Path,
    store: dict,
    *,
    journal: dict | None = None,
    models: tuple[str, str] = ("old_model", "new_model"),
    **more,
) -> Path:
    """Write a configuration for a store. models: factories of the old and the new one.

    more: keys of the file's top; those of its tables join what is there.
    """
    here = "tests.acceptance.truth.shop"
    old, new = models
    values = {
        "store": store,
        "source": {"factory": f"{here}:source", "options": {"folder": str(shop)}},
        "old": {"embedder": f"{here}:{old}"},
        "new": {"embedder": f"{here}:{new}", "options": {"seconds": 0.03}},
        "upgrade": {
            "batch_size": 8,
            "fit_items": 150,
            "verify_items": 20,
            "embed_timeout_seconds": 2.0,
        },
    }
    if journal is not None:
        values["journal"] = journal
    for key, value in more.items():
        values[key] = values.get(key, {}) | value if isinstance(value, dict) else value
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    return path
