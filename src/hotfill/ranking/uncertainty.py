"""How doubtful a transform is about an item, seen from its old vector alone: the backfill order.

A regression that cannot tell where an item lies in the new space predicts something near the mean.
The length of its prediction, measured from the mean in the weighed new space, is therefore a
confidence, for nothing: no labels, no second model, no new vector. [observed here] A forward map of
FastFill has a head trained for the purpose, whose log variance is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import ConfigError
from hotfill.ranking.bridge import Bridge
from hotfill.ranking.kernel import KernelBridge, KernelMap
from hotfill.ranking.networks import ForwardMap
from hotfill.ranking.transform import BATCH_ROWS, as_compared
from hotfill.vectors import check_vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.types import Transform


def uncertainty(transform: Transform, old_vectors: Any) -> NDArray[np.float32]:
    """Say how doubtful the transform is about each item: backfill the highest first.

    transform: a bridge, a kernel bridge, a kernel map, or a forward map with a sigma head.
    old_vectors: (n, old dimension); of a forward map with side-information, joined rows.
    Returns float32 (n,), without a unit: only the order means something, and only among values of
    one transform.
    Raises ConfigError (a transform that has no such measure), ShapeError, VectorError.
    """
    if not isinstance(transform, (Bridge, ForwardMap, KernelBridge, KernelMap)):
        raise ConfigError(
            f"{type(transform).__name__} has no measure of doubt; "
            "fit a bridge, a kernel bridge or a kernel map"
        )
    upward = isinstance(transform, (ForwardMap, KernelMap))
    old_model = transform.source if upward else transform.target
    given = check_vectors(old_vectors, old_model.dimension, what=f"vectors of {old_model.name}")
    doubts = np.empty(len(given), dtype=np.float32)
    for start in range(0, len(given), BATCH_ROWS):
        stretch = slice(start, start + BATCH_ROWS)
        doubts[stretch] = -transform.confidence(as_compared(given[stretch], old_model))
    return doubts
