"""Two models as an upgrade.toml names them: honest, cheap, and as slow as wished."""

from __future__ import annotations

import time

import numpy as np

from hotfill.types import ModelId

WIDTH = 32  # numbers that make up the content of an item


class Projection:
    """A fixed random projection of contents and of their squares, brought to unit length."""

    def __init__(self, name: str, dimension: int, seconds_per_item: float) -> None:
        self.model_id = ModelId(name, "1", dimension)
        self.seconds_per_item = seconds_per_item
        seed = {"old": 1, "new": 2}[name]
        random = np.random.default_rng(seed)
        self.straight = random.normal(size=(WIDTH, dimension)).astype(np.float32)
        self.curved = 0.3 * random.normal(size=(WIDTH, dimension)).astype(np.float32)

    def __call__(self, contents):
        time.sleep(self.seconds_per_item * len(contents))
        rows = np.asarray(contents, dtype=np.float32)
        vectors = rows @ self.straight + np.square(rows) @ self.curved
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Contents:
    """A source that computes the content of an item from its id."""

    def __init__(self, items: int) -> None:
        self.rows = rows_of(items)

    def __call__(self, item_ids):
        return {item_id: self.rows[int(item_id[5:])] for item_id in item_ids}


def rows_of(items: int, seed: int = 0) -> np.ndarray:
    """Contents around 100 centres, (items, WIDTH) float32."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(1000).normal(size=(100, WIDTH))
    rows = centres[random.integers(100, size=items)] + 0.6 * random.normal(size=(items, WIDTH))
    return rows.astype(np.float32)


def old(dimension: int = 64, seconds_per_item: float = 0.0) -> Projection:
    return Projection("old", dimension, seconds_per_item)


def new(dimension: int = 64, seconds_per_item: float = 0.0) -> Projection:
    return Projection("new", dimension, seconds_per_item)


def contents(items: int) -> Contents:
    return Contents(items)
