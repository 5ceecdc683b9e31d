"""What a user of the command line writes: two models and a source, as factories."""

from __future__ import annotations

import time

import numpy as np

from hotfill.types import ModelId

WIDTH = 8  # numbers that make up the content of an item
OLD = ModelId("old", "1", 6)
NEW = ModelId("new", "1", 8)
THIRD = ModelId("third", "1", 7)


class Projection:
    """A fixed random projection of the contents, and as slow as wished."""

    def __init__(self, model_id: ModelId, seconds_per_call: float) -> None:
        self.model_id = model_id
        self.seconds_per_call = seconds_per_call

    def __call__(self, contents):
        time.sleep(self.seconds_per_call)
        rows = np.stack(
            [parsed(each) if isinstance(each, str) else np.asarray(each) for each in contents]
        ).astype(np.float32)
        matrix = np.random.default_rng(self.model_id.dimension).normal(
            size=(WIDTH, self.model_id.dimension)
        )
        vectors = rows @ matrix.astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def parsed(text: str) -> np.ndarray:
    return np.array([float(part) for part in text.split()])


def old_model(seconds_per_call: float = 0.0) -> Projection:
    return Projection(OLD, seconds_per_call)


def new_model(seconds_per_call: float = 0.0, name: str = "new") -> Projection:
    print("this embedder is chatty")  # must not end up in a result
    return Projection(ModelId(name, "1", 8), seconds_per_call)


def third_model(seconds_per_call: float = 0.0) -> Projection:
    return Projection(THIRD, seconds_per_call)


class Contents(dict):
    """A source: a dictionary that can be called."""

    def __call__(self, item_ids):
        return {item_id: self[item_id] for item_id in item_ids if item_id in self}


def contents(items: int = 0, without: str = "") -> Contents:
    rows = np.random.default_rng(0).normal(size=(items, WIDTH)).astype(np.float32)
    made = Contents({f"item-{i:05}": row for i, row in enumerate(rows)})
    made.pop(without, None)
    return made
