"""Backfill orders of a rehearsal: which items are done first. They are those of an upgrade.

An order is a permutation of the gallery's positions, int64 (n,). Orders by a value put the highest
first; equal values come in random order, so that they carry no hidden order of the gallery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import ConfigError, InputError, ShapeError
from hotfill.ranking import uncertainty
from hotfill.upgrade.order import popularity_times_uncertainty

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hotfill.rehearsal.sample import Sample
    from hotfill.types import Transform

ORDERS = ("random", "uncertainty", "popularity", "popularity_uncertainty")
"""Those of a `Plan`, but `priority`, which only the user knows."""

_BY_UNCERTAINTY = {"uncertainty", "popularity_uncertainty"}
_BY_POPULARITY = {"popularity", "popularity_uncertainty"}
_TOP = 10
_MAX_LOGGED = 2000  # queries of the stand-in for a log


def permutations(
    sample: Sample,
    names: Sequence[str],
    transform: Callable[[], Transform],
    popularity: NDArray[np.float64] | None,
    seed: int,
) -> dict[str, NDArray[np.int64]]:
    """Make the orders asked for, by name.

    transform: fits the map whose uncertainty counts. popularity: (n,), of the gallery's items;
    without it the items used for fitting stand in for the queries of a log.
    """
    urgency: dict[str, NDArray[Any]] = {"random": np.zeros(len(sample.gallery))}
    if _BY_UNCERTAINTY & set(names):
        fitted = transform()
        blocks = [uncertainty(fitted, block) for _, block in sample.old.gallery.blocks()]
        urgency["uncertainty"] = np.concatenate(blocks)
    if _BY_POPULARITY & set(names):
        urgency["popularity"] = old_popularity(sample) if popularity is None else popularity
    if "popularity_uncertainty" in names:
        doubt = urgency["uncertainty"]
        urgency["popularity_uncertainty"] = popularity_times_uncertainty(
            urgency["popularity"], doubt, np.sort(doubt)
        )
    return {name: highest_first(urgency[name], seed=seed) for name in names}


def popularity_of(
    returned: Any, names: Sequence[str], sample: Sample, items: int
) -> NDArray[np.float64] | None:
    """Take how often each gallery item was returned, where a log says so.

    returned: (items,) >= 0, or None. Raises ConfigError (no order looks at it), ShapeError,
    InputError.
    """
    if returned is None:
        return None
    if not _BY_POPULARITY & set(names):
        raise ConfigError(
            "a query log serves the orders popularity and popularity_uncertainty, and neither was "
            "asked for"
        )
    counts = np.asarray(returned, dtype=np.float64)
    if counts.shape != (items,):
        raise ShapeError(f"returned: expected one count per item ({items}), got {counts.shape}")
    if not (np.isfinite(counts).all() and counts.min() >= 0):
        raise InputError("how often an item was returned must be a finite number >= 0")
    return np.asarray(counts[sample.gallery])


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


def old_popularity(sample: Sample) -> NDArray[np.float64]:
    """Count how often each gallery item was among the first ten of the old system: float64 (n,).

    The items used for fitting stand in for the queries of a log.
    """
    logged = sample.old.fit.read(slice(0, _MAX_LOGGED))
    best = np.full((len(logged), _TOP), -np.inf, dtype=np.float32)
    rows = np.zeros((len(logged), _TOP), dtype=np.int64)
    for span, block in sample.old.gallery.blocks():
        scores = np.hstack([best, logged @ block.T])
        columns = np.hstack(
            [rows, np.broadcast_to(np.arange(span.start, span.stop), (len(logged), len(block)))]
        )
        top = np.argpartition(-scores, _TOP - 1, axis=1)[:, :_TOP]
        best = np.take_along_axis(scores, top, axis=1)
        rows = np.take_along_axis(columns, top, axis=1)
    return np.bincount(rows.ravel(), minlength=len(sample.old.gallery)).astype(np.float64)
