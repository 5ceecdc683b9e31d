"""How well mapped items stand where the true ones do: the label-free criterion for choosing maps.

For held-out items as queries: the mean average precision of mapped items against the true space's
five nearest neighbours, times the mean reciprocal rank of the item itself. The first asks for the
neighbourhood, the second for the item; over seven pairs of real models the product chose maps of
nearly the best retrieval quality by labels. [derived and measured here]
"""

from __future__ import annotations

import numpy as np

_NEIGHBOURS = 5


def agreement(true: np.ndarray, mapped: np.ndarray) -> float:
    """Compare by cosine: true, mapped (n, d), row i of both is the same item. Returns 0 to 1."""
    true = true / np.maximum(np.linalg.norm(true, axis=1, keepdims=True), 1e-20)
    mapped = mapped / np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), 1e-20)
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
    true = true / np.maximum(np.linalg.norm(true, axis=1, keepdims=True), 1e-20)
    wanted, got = true @ true.T, np.array(scores)
    np.fill_diagonal(wanted, -np.inf)
    np.fill_diagonal(got, -np.inf)
    k = min(k, len(true) - 1)
    nearest = np.argpartition(-wanted, k - 1, axis=1)[:, :k]
    best = np.argpartition(-got, k - 1, axis=1)[:, :k]
    return float(np.mean((nearest[:, :, None] == best[:, None, :]).any(axis=2)))
