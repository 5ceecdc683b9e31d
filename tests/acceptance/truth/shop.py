"""The application's own database of contents, its two models, and its configuration file.

A content is an item's id and version, written here before it is written to the gallery, as an
application does. This database stands for another machine: no fault strikes it.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import tomli_w

from hotfill.types import ModelId

WIDTH = 8
OLD, NEW, THIRD = ModelId("old", "1", 6), ModelId("new", "1", 8), ModelId("third", "1", 7)
_NAME = "shop"


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
    """Contents by item id, a small file each: a process that stands still keeps nobody waiting."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _NAME
        self._folder.mkdir(exist_ok=True)

    def put(self, item_id: str, version: int) -> None:
        half = self._folder / f".{item_id}-{os.getpid()}-{threading.get_ident()}"
        half.write_text(str(version))
        half.replace(self._folder / item_id)

    def remove(self, item_id: str) -> None:
        (self._folder / item_id).unlink(missing_ok=True)

    def version(self, item_id: str) -> int:
        """Read which one is there. Raises FileNotFoundError."""
        return int((self._folder / item_id).read_text())

    def __call__(self, item_ids):
        found = {}
        for item_id in item_ids:
            with suppress(FileNotFoundError):
                found[item_id] = content(item_id, self.version(item_id))
        return found


# Factories that the configuration names ----------------------------------------------------------


def old_model(seconds: float = 0.0) -> Model:
    return Model(OLD, seconds)


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
            "allow_below_old": True,  # random projections have little in common, drawn items less
        },
    }
    if journal is not None:
        values["journal"] = journal
    for key, value in more.items():
        values[key] = values.get(key, {}) | value if isinstance(value, dict) else value
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    return path
