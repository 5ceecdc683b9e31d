"""How stores compare: the score of a query with a vector in a space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hotfill.scoring.calibration import Scores
    from hotfill.types import ModelId, Vectors


def compare(queries: Vectors, vectors: Vectors, model: ModelId) -> Scores:
    """Score each query with each vector as a store does: (q, n) float32, higher is better."""
    return compare_as_they_are(
        of_unit_length(queries, model), of_unit_length(vectors, model), model
    )


def of_unit_length(vectors: Vectors, model: ModelId) -> Vectors:
    """Divide rows by their lengths where the space is compared by the cosine."""
    if model.metric != "cosine":
        return vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, dtype=np.float32)


def compare_as_they_are(queries: Vectors, vectors: Vectors, model: ModelId) -> Scores:
    """Compare rows that are of unit length already where the cosine wants them so."""
    scores = queries @ vectors.T
    if model.metric == "l2":
        squares = np.square(queries).sum(axis=1)[:, None] + np.square(vectors).sum(axis=1)
        scores = -np.sqrt(np.maximum(squares - 2 * scores, 0))
    return np.asarray(scores, dtype=np.float32)
