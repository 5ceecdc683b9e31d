"""What a search over three origins costs, beside a search of one index: processor time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hotfill.ranking import fit_one_space
from hotfill.stores.memory import MemoryGallery
from hotfill.types import ModelId
from hotfill.upgrade.one_index import OneIndex
from hotfill.vectors import unit

ITEMS, DIMENSION, PAIRS, QUERIES, K = 100_000, 384, 1000, 50, 10


def row(seed: int, items: int) -> dict[str, Any]:
    """Search made-up clusters, a third by each of two imputations, the rest by the model itself.

    Each query alone, as callers ask. One index is the plain search of the same items.
    """
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((200, DIMENSION)).astype(np.float32)

    def draw(count: int) -> np.ndarray:
        noise = rng.standard_normal((count, DIMENSION)).astype(np.float32)
        return unit(centres[rng.integers(len(centres), size=count)] + noise)

    models = [ModelId(name, "1", DIMENSION) for name in ("first", "second", "third")]
    pairs = draw(PAIRS)
    blurred = [
        unit(pairs + 0.05 * rng.standard_normal(pairs.shape).astype(np.float32)) for _ in "12"
    ]
    fits = [
        fit_one_space(old, pairs, model, models[-1], seed=seed)
        for old, model in zip(blurred, models[:2], strict=True)
    ]
    names = [f"{number:06}" for number in range(items)]
    gallery = MemoryGallery(models[0])
    gallery.add_space(models[-1])
    vectors = draw(items)
    versions = gallery.upsert(names, vectors, space=models[0])
    for part, fit in enumerate([*fits, None]):
        rows = np.arange(part, items, 3)
        gallery.move(
            [names[place] for place in rows],
            vectors[rows] if fit is None else fit.impute(vectors[rows]),
            space=models[-1],
            expected_versions=versions[rows],
            origin=None if fit is None else fit.origin,
        )
    queries, index = draw(QUERIES), OneIndex(tuple(fits))
    plain = _milliseconds(lambda query: gallery.search({models[-1]: query}, K), queries)
    mixed = _milliseconds(lambda query: index.search(gallery, query, K), queries)
    return {
        "items": items,
        "dimension": DIMENSION,
        "overfetch": max(fit.overfetch for fit in fits),
        "one index": round(plain, 2),
        "three origins": round(mixed, 2),
        "ratio": round(mixed / plain, 3),
    }


def _milliseconds(search: Callable[[np.ndarray], Any], queries: np.ndarray) -> float:
    """Return the median of the processor time of one query, after a first that warms up."""
    search(queries[:1])
    took = []
    for place in range(len(queries)):
        began = time.process_time()
        search(queries[place : place + 1])
        took.append(1000 * (time.process_time() - began))
    return float(np.median(took))
