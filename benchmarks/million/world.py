"""A million items as two models see them, made once and kept in files; and what a project names.

The content of an item is its number. Rows beyond the gallery's items are for live writes.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from hotfill.types import ModelId

OLD, NEW = ModelId("old", "1", 256), ModelId("new", "1", 384)
LATENT, CENTRES, BLOCK = 64, 2000, 20_000
SPARE = 20_000  # rows for items that are written while the upgrade runs
QUERIES = 1000


def name_of(number: int) -> str:
    return f"{number:09}"


def number_of(name: str) -> int:
    return int(name)


def make(folder: Path, items: int, seed: int) -> None:
    """Write both models' vectors of unit length, and queries. Does nothing where they are."""
    if (folder / "queries.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    centres = random.normal(size=(CENTRES, LATENT)).astype(np.float32)
    layers = {
        model: [
            (random.normal(size=shape) / shape[0] ** 0.5).astype(np.float32)
            for shape in ((LATENT, 128), (128, model.dimension))
        ]
        for model in (OLD, NEW)
    }

    def seen(model: ModelId, latent: np.ndarray) -> np.ndarray:
        first, second = layers[model]
        rows = np.tanh(latent @ first) @ second
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def drawn(n: int) -> np.ndarray:
        noise = random.normal(size=(n, LATENT)).astype(np.float32)
        return centres[random.integers(CENTRES, size=n)] + 0.7 * noise

    n = items + SPARE
    files = {
        model: np.lib.format.open_memmap(
            folder / f"{model.name}.npy", "w+", np.float32, (n, model.dimension)
        )
        for model in (OLD, NEW)
    }
    for begin in range(0, n, BLOCK):
        latent = drawn(min(BLOCK, n - begin))
        for model, rows in files.items():
            rows[begin : begin + len(latent)] = seen(model, latent)
    for rows in files.values():
        rows.flush()
    latent = drawn(QUERIES)
    np.save(folder / "queries_old.npy", seen(OLD, latent))
    np.save(folder / "queries.npy", seen(NEW, latent))


class Rows:
    """An embedder that looks vectors up, and takes some time for its first items."""

    def __init__(
        self, model: ModelId, folder: str, seconds_per_item: float = 0.0, slow_items: int = 0
    ) -> None:
        self.model_id = model
        self.rows = np.load(Path(folder) / f"{model.name}.npy", mmap_mode="r")
        self.seconds_per_item, self.slow_items = seconds_per_item, slow_items

    def __call__(self, contents):
        slow = min(len(contents), self.slow_items)
        self.slow_items -= slow
        if slow:
            time.sleep(slow * self.seconds_per_item)
        return self.rows[np.asarray(contents)]


def old(folder: str) -> Rows:
    return Rows(OLD, folder)


def new(folder: str, seconds_per_item: float = 0.0, slow_items: int = 0) -> Rows:
    return Rows(NEW, folder, seconds_per_item, slow_items)


def contents():
    return lambda item_ids: {item_id: number_of(item_id) for item_id in item_ids}
