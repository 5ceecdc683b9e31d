"""Ties: scores that differ by rounding only are equal, and a stated rule orders equal ones.

Two processors, or two libraries for matrices, round the same product differently. Where two items
have the same vector, rounding would decide which comes first; nothing may hang on it.
"""

from __future__ import annotations

from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from hotfill.types import Metric

NOISE = 2e-6
"""Scores this close, as a share of their scale, are equal: 16 units of float32's last place."""

_SHORT = 128
"""Scores that are looked at as plain numbers: calling numpy costs more than so few of them."""


def tolerance(scores: NDArray[np.float32], metric: Metric | None = None) -> float:
    """Return the difference up to which scores are equal.

    metric: of the space that the scores are of; the scale of cosines is 1, that of others the
        largest absolute value among them.
    """
    if metric == "cosine":
        return NOISE
    if 0 < len(scores) <= _SHORT:
        values = scores.tolist()
        largest = float(max(max(values), -min(values)))
    else:
        largest = float(np.abs(scores).max(initial=0.0))
    if not isfinite(largest):
        largest = float(np.abs(scores[np.isfinite(scores)]).max(initial=0.0))
    return NOISE * largest


def tied(falling: NDArray[np.float32], within: float) -> list[slice]:
    """Find the runs of two or more equal scores in a list that never rises.

    A run begins with the best score that is in no run yet, and holds all that are at most `within`
    below it; so no item is put before one that is better by more than that.
    """
    exact = falling.tolist()
    if len(exact) <= _SHORT:
        starts = [at for at, (one, next_) in enumerate(pairwise(exact)) if one - next_ <= within]
    else:
        wide = falling.astype(np.float64)
        starts = np.flatnonzero(wide[:-1] - wide[1:] <= within).tolist()
    runs: list[slice] = []
    end = 0
    for start in starts:
        if start < end:
            continue
        end = start + 2
        while end < len(exact) and exact[start] - exact[end] <= within:
            end += 1
        runs.append(slice(start, end))
    return runs


def best_first(
    scores: NDArray[np.float32], keys: Callable[[list[int]], Sequence[Any]]
) -> NDArray[np.intp]:
    """Order rows by score, the highest first; equal ones by their key, the least first.

    keys: gives the keys of some rows; asked only for those with equal scores.
    """
    order = np.argsort(-scores, kind="stable")
    for run in tied(scores[order], tolerance(scores)):
        rows = order[run].tolist()
        order[run] = [row for _, row in sorted(zip(keys(rows), rows, strict=True))]
    return order
