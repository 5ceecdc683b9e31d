"""Orthogonal Procrustes: the rotation (with reflection) that brings one space onto the other.

With paired rows X (n, d_s) and Y (n, d_t): X^T Y = U S V^T, R = U V^T, and x -> x R. R has
orthonormal rows (d_s <= d_t) or columns (d_s > d_t), so it cannot stretch a direction: a strong
prior that needs few pairs. Source: Schönemann 1966; used for embedding drift as "OP" in Vejendla
2025 (section 5 of the method notes) [equation derived].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.transforms.affine import Affine
from hotfill.transforms.base import BATCH_ROWS
from hotfill.transforms.pairs import varied_pairs

if TYPE_CHECKING:
    from hotfill.transforms.base import Facts
    from hotfill.types import ModelId


def fit_procrustes(
    source_vectors: Any,
    target_vectors: Any,
    *,
    source: ModelId,
    target: ModelId,
    centre: bool = False,
) -> Affine:
    """Fit the orthogonal map from pairs.

    source_vectors, target_vectors: (n, dimension), row i of both is the same item; n must be at
        least the smaller dimension, or the rotation is not determined.
    centre: fit the rotation about the two means and add the shift between them. Off by default:
        with cosine spaces a pure rotation keeps all angles within the old space, and it was the
        better one on the real models measured (`benchmarks/mixed_quality`).
    Raises ShapeError, VectorError, InputError (too few pairs).
    """
    least = max(2, min(source.dimension, target.dimension))
    first, second = varied_pairs(
        source_vectors, target_vectors, source=source, target=target, least=least
    )
    mean_first = np.zeros(source.dimension)
    mean_second = np.zeros(target.dimension)
    if centre:
        mean_first = first.mean(axis=0, dtype=np.float64)
        mean_second = second.mean(axis=0, dtype=np.float64)
    crossed = np.zeros((source.dimension, target.dimension))
    for start in range(0, len(first), BATCH_ROWS):
        x = first[start : start + BATCH_ROWS] - mean_first
        y = second[start : start + BATCH_ROWS] - mean_second
        crossed += x.T @ y
    left, _, right = np.linalg.svd(crossed, full_matrices=False)
    matrix = left @ right
    facts: Facts = {"method": "procrustes", "pairs": len(first), "centred": int(centre)}
    offset = mean_second - mean_first @ matrix
    return Affine(source, target, {"matrix": matrix, "offset": offset}, facts)
