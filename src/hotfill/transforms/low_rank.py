"""The low-rank affine map: ridge regression whose matrix has at most a given rank.

Drift-Adapter (Vejendla 2025, section 5 of the method notes) trains x -> U V^T x + t by gradient on
the squared error. Its minimum has a closed form, reduced-rank regression [textbook]: with W the
ridge solution and X the centred inputs, keep the r directions of the target space in
which the fitted values X W vary most,

    W_r = W P P^T,     P = first r eigenvectors of W^T (X^T X / n + penalty v I) W.

A diagonal scale after the map keeps the rank, so the minimum already holds the best one. A low rank
is a prior against noise where pairs are few; it cannot serve where the spaces differ in many
directions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError
from hotfill.transforms.affine import Affine
from hotfill.transforms.base import BATCH_ROWS
from hotfill.transforms.pairs import check_pairs
from hotfill.transforms.ridge import MIN_PAIRS, PENALTIES, fit_ridge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.transforms.base import Facts
    from hotfill.types import ModelId

RANK = 64
"""Drift-Adapter's."""


def fit_low_rank(
    source_vectors: Any,
    target_vectors: Any,
    *,
    source: ModelId,
    target: ModelId,
    rank: int = RANK,
    penalties: Sequence[float] = PENALTIES,
) -> Affine:
    """Fit the affine map of at most this rank from pairs; see the module.

    source_vectors, target_vectors: (n, dimension), row i of both is the same item, n >= 20.
    rank: >= 1; at the smaller dimension or above it this is `fit_ridge`.
    penalties: as in `fit_ridge`, chosen there at full rank.
    Raises ShapeError, VectorError, InputError (too few pairs, a bad rank or penalty).
    """
    if rank < 1:
        raise InputError(f"a low-rank map needs a rank >= 1, got {rank}")
    first, second = check_pairs(
        source_vectors, target_vectors, source=source, target=target, least=MIN_PAIRS
    )
    ridge = fit_ridge(first, second, source=source, target=target, penalties=penalties)
    centre = first.mean(axis=0, dtype=np.float64)
    gram = np.zeros((source.dimension, source.dimension))
    for start in range(0, len(first), BATCH_ROWS):
        centred = first[start : start + BATCH_ROWS] - centre
        gram += centred.T @ centred
    gram /= len(first)
    gram += float(ridge.facts["penalty"]) * np.trace(gram) / len(gram) * np.eye(len(gram))
    full = ridge.matrix.astype(np.float64)
    _, directions = np.linalg.eigh(full.T @ gram @ full)
    kept = directions[:, ::-1][:, :rank]
    matrix = full @ kept @ kept.T
    # The means still meet: only the spread about them lost directions.
    offset = ridge.offset + centre @ (full - matrix)
    facts: Facts = {
        "method": "low rank",
        "rank": min(rank, source.dimension, target.dimension),
        "pairs": len(first),
        "penalty": float(ridge.facts["penalty"]),
    }
    return Affine(source, target, {"matrix": matrix, "offset": offset}, facts)
