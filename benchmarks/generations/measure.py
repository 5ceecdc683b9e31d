"""What a search is worth, query by query, and how sure a difference is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hotfill.metrics import Relevance, average_precision, hit_rate, rank_scores


@dataclass(frozen=True, eq=False)
class Measured:
    """precision: average precision of each query. right: whether its first hit is relevant."""

    precision: NDArray[np.float64]
    right: NDArray[np.bool_]

    @property
    def map(self) -> float:
        """The mean over the queries, over full rankings."""
        return float(self.precision.mean())

    def figures(self) -> dict[str, float]:
        """Both means, rounded."""
        return {"map": round(self.map, 4), "hit_rate@1": round(float(self.right.mean()), 4)}


def measure(scores: NDArray[np.float32], relevance: Relevance) -> Measured:
    """Rank the gallery by scores (queries, items), higher is better."""
    ranks = rank_scores(scores, relevance)
    return Measured(average_precision(ranks), hit_rate(ranks, 1))


def apart(one: Measured, other: Measured, samples: int = 1000) -> dict[str, float]:
    """Return how far one is above the other: the mean over queries and its 95 % interval."""
    each = one.precision - other.precision
    drawn = np.random.default_rng(0).integers(len(each), size=(samples, len(each)))
    low, high = np.quantile(each[drawn].mean(axis=1), (0.025, 0.975))
    return {
        name: round(float(value), 4)
        for name, value in (("mean", each.mean()), ("low", low), ("high", high))
    }


def way(now: float, *, old: float, new: float) -> float | None:
    """Return the share of the way from the old to the new model; None where there is none."""
    return round((now - old) / (new - old), 4) if new > old else None
