"""Backfill orders: which items are done first.

An order is a permutation of the gallery's positions, int64 (n,). Orders by a value put the highest
first; equal values come in random order, so that they carry no hidden order of the gallery.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import InputError, ShapeError


def random_order(items: int, *, seed: int) -> NDArray[np.int64]:
    """Any order, the same for the same seed."""
    return np.random.default_rng(seed).permutation(items)


def highest_first(values: Any, *, seed: int) -> NDArray[np.int64]:
    """Order by a priority, an uncertainty or a popularity: (n,) finite numbers, highest first."""
    priority = np.asarray(values, dtype=np.float64)
    if priority.ndim != 1:
        raise ShapeError(f"an order needs one value per item, (n,); got shape {priority.shape}")
    if not np.all(np.isfinite(priority)):
        raise InputError("an order needs finite values; got NaN or infinity")
    shuffled = random_order(len(priority), seed=seed)
    return shuffled[np.argsort(-priority[shuffled], kind="stable")]


def popularity_times_uncertainty(
    popularity: Any, uncertainty: Any, *, seed: int
) -> NDArray[np.int64]:
    """Order by both: often asked for and badly mapped first.

    popularity: (n,) >= 0, for example how often each item was among the first ten results.
    uncertainty: (n,) >= 0. One is added to popularity, so that items never asked for still come
    in the order of their uncertainty.
    """
    asked, unsure = np.asarray(popularity, np.float64), np.asarray(uncertainty, np.float64)
    if asked.shape != unsure.shape:
        raise ShapeError(f"expected one popularity per uncertainty, got {asked.shape}")
    if asked.size and min(asked.min(), unsure.min()) < 0:
        raise InputError("popularity and uncertainty must be >= 0")
    return highest_first((1.0 + asked) * unsure, seed=seed)


def check_order(order: Any, items: int) -> NDArray[np.int64]:
    """Return a permutation of 0 .. items - 1, or raise InputError."""
    positions = np.asarray(order)
    if (
        positions.shape != (items,)
        or positions.dtype.kind not in "iu"
        or not np.array_equal(np.sort(positions), np.arange(items))
    ):
        raise InputError(f"a backfill order must hold each of 0 .. {items - 1} once")
    return positions.astype(np.int64)
