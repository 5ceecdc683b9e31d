"""Negative flips: queries that were answered rightly before and are answered wrongly now."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import ShapeError


def negative_flips(before: Any, after: Any) -> NDArray[np.bool_]:
    """Tell which queries flipped: bool (queries,). The mean is the negative flip rate.

    before, after: bool (queries,), whether each query was answered rightly, for example
    `hit_rate(ranks, 1)`. With "before" = old model on the old gallery and "after" = gallery
    refreshed to a share, the mean is NFR_K at that share (compatible-training.md, section 2): its
    divisor is all queries, not those that were right.
    """
    first, second = np.asarray(before), np.asarray(after)
    if (
        first.shape != second.shape
        or first.ndim != 1
        or {first.dtype, second.dtype} != {np.dtype(bool)}
    ):
        raise ShapeError(
            "negative flips: expected two bool arrays of one shape (queries,), "
            f"got {first.dtype} {first.shape} and {second.dtype} {second.shape}"
        )
    return np.asarray(first & ~second)
