"""Vectors of a model that promises unit length have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.types import ModelId, Vectors


def as_promised(vectors: NDArray[np.floating], model: ModelId) -> Vectors:
    """Return float32 rows, of unit length where the model's vectors are normalised.

    Rows without a length are left alone; whoever gets them refuses them by name.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if not model.normalised or not len(rows):
        return rows
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))[:, None]
    with np.errstate(invalid="ignore"):
        unit: Vectors = np.divide(rows, lengths, out=rows.astype(np.float64), where=lengths > 0)
    return unit.astype(np.float32)
