"""Paired vectors: row i of both arrays is the same item, seen by two models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError, ShapeError, VectorError
from hotfill.vectors import as_compared, check_vectors, unit

if TYPE_CHECKING:
    from hotfill.types import ModelId, Vectors


def check_pairs(
    source_vectors: Any, target_vectors: Any, *, source: ModelId, target: ModelId, least: int = 1
) -> tuple[Vectors, Vectors]:
    """Return both arrays as their spaces compare them, or raise.

    least: how many pairs the caller needs.
    Raises ShapeError (rows that do not match, dimensions), VectorError (NaN, infinite, all zero),
    InputError (too few pairs).
    """
    first = check_vectors(source_vectors, source.dimension, what=f"vectors of {source.name}")
    second = check_vectors(target_vectors, target.dimension, what=f"vectors of {target.name}")
    if len(first) != len(second):
        raise ShapeError(
            f"expected one {target.name} vector per {source.name} vector of the same item, "
            f"got {len(first)} and {len(second)} rows"
        )
    if len(first) < least:
        raise InputError(
            f"{len(first)} pairs are too few: at least {least} are needed here, and 2,000 or more "
            "give a good fit; embed more items with both models"
        )
    return as_compared(first, source), as_compared(second, target)


def varied_pairs(
    source_vectors: Any, target_vectors: Any, *, source: ModelId, target: ModelId, least: int
) -> tuple[Vectors, Vectors]:
    """Do the same for what is to be learned from: neither side may be one vector again and again.

    Raises as `check_pairs`, and VectorError.
    """
    first, second = check_pairs(
        source_vectors, target_vectors, source=source, target=target, least=least
    )
    refuse_constant(first, source)
    refuse_constant(second, target)
    return first, second


def refuse_constant(vectors: np.ndarray, model: ModelId) -> None:
    """Raise VectorError where all rows are one vector, from which nothing can be learned."""
    if len(vectors) and np.allclose(vectors, vectors[0], rtol=0, atol=1e-6):
        raise VectorError(
            f"all {len(vectors)} vectors of {model} are the same; is the model's output constant?"
        )


# How well mapped items stand where the true ones do: the label-free criterion for choosing maps ---
# For held-out items as queries: the mean average precision of mapped items against the true space's
# five nearest neighbours, times the mean reciprocal rank of the item itself. The first asks for the
# neighbourhood, the second for the item; over seven pairs of real models the product chose maps of
# nearly the best retrieval quality by labels. [derived and measured here]

_NEIGHBOURS = 5


def agreement(true: np.ndarray, mapped: np.ndarray) -> float:
    """Compare by cosine: true, mapped (n, d), row i of both is the same item. Returns 0 to 1."""
    true = unit(true)
    mapped = unit(mapped)
    wanted, got = true @ true.T, true @ mapped.T
    own = np.diag(got).copy()
    reciprocal = float(np.mean(1.0 / (1 + np.sum(got > own[:, None], axis=1))))
    np.fill_diagonal(wanted, -np.inf)
    np.fill_diagonal(got, -np.inf)
    count = min(_NEIGHBOURS, len(true) - 1)
    nearest = np.argpartition(-wanted, count - 1, axis=1)[:, :count]
    scores = np.take_along_axis(got, nearest, axis=1)
    ranks = np.sort(1 + np.sum(got[:, None, :] > scores[:, :, None], axis=2), axis=1)
    precision = float(np.mean(np.arange(1, count + 1) / ranks))
    return precision * reciprocal


def neighbours_kept(true: np.ndarray, scores: np.ndarray, k: int = 10) -> float:
    """Tell which share of each item's k nearest others is among its k best scored others.

    true: (n, d), compared by cosine. scores: (n, n), row i is the query made of item i.
    """
    true = unit(true)
    wanted, got = true @ true.T, np.array(scores)
    np.fill_diagonal(wanted, -np.inf)
    np.fill_diagonal(got, -np.inf)
    k = min(k, len(true) - 1)
    nearest = np.argpartition(-wanted, k - 1, axis=1)[:, :k]
    best = np.argpartition(-got, k - 1, axis=1)[:, :k]
    return float(np.mean((nearest[:, :, None] == best[:, None, :]).any(axis=2)))
