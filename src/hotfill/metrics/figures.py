"""Figures of a ranking, one value per judged query; the mean over queries is the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import InputError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.metrics.ranks import RelevantRanks


def check_cut(k: int) -> None:
    """Raise InputError unless k >= 1."""
    if k < 1:
        raise InputError(f"the cut k must be >= 1, got {k}")


# Average precision, over the full ranking or at k. The mean over queries is map or map@k ---------


def average_precision(ranks: RelevantRanks, k: int | None = None) -> NDArray[np.float64]:
    """Average precision of each judged query: float64 (j,), 0 to 1.

    AP = (1/m) sum over relevant items of the precision at their rank, m = number of relevant items
    (the step-wise form of scikit-learn, also that of the FCT evaluator). With k, only ranks up to
    k count and the divisor is min(m, k), as for map@100 on Google Landmarks v2. Relevance is
    binary: any grade counts alike.
    """
    precision = ranks.positions() / ranks.ranks
    if k is None:
        return ranks.total(precision) / ranks.relevant
    check_cut(k)
    return ranks.total(np.where(ranks.ranks <= k, precision, 0.0)) / np.minimum(ranks.relevant, k)


# Hit rate at k, also called CMC or, misleadingly, recall: is anything relevant at the top? -------


def hit_rate(ranks: RelevantRanks, k: int) -> NDArray[np.bool_]:
    """Tell for each judged query whether a relevant item is among its first k: bool (j,).

    The mean is the hit rate at k; the values are what `negative_flips` compares.
    """
    check_cut(k)
    return np.asarray(ranks.ranks[ranks.starts] <= k)


# Recall at k: how much of what is relevant is at the top -----------------------------------------


def recall(ranks: RelevantRanks, k: int) -> NDArray[np.float64]:
    """Share of each judged query's relevant items among its first k: float64 (j,), 0 to 1.

    The divisor is the number of relevant items, also where that is more than k.
    """
    check_cut(k)
    return ranks.total(ranks.ranks <= k) / ranks.relevant


# Normalised discounted cumulative gain at k ------------------------------------------------------


def ndcg(ranks: RelevantRanks, k: int) -> NDArray[np.float64]:
    """NDCG at k of each judged query: float64 (j,), 0 to 1.

    Gain = the grade itself (not 2^grade - 1), discount = 1 / log2(1 + rank): the convention of
    trec_eval and BEIR. The ideal ranking holds all relevant items, also those not found.
    """
    check_cut(k)
    gained = np.where(ranks.ranks <= k, ranks.grades / np.log2(1.0 + ranks.ranks), 0.0)
    position = ranks.positions()
    best_first = ranks.grades
    if not np.all(best_first == best_first[:1]):
        query = np.repeat(np.arange(len(ranks.starts)), ranks.relevant)
        best_first = best_first[np.lexsort((-best_first, query))]
    ideal = np.where(position <= k, best_first / np.log2(1.0 + position), 0.0)
    return ranks.total(gained) / ranks.total(ideal)


# Negative flips: queries that were answered rightly before and are answered wrongly now ----------


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


# How sure a difference between two systems is, when both were asked the same queries -------------


@dataclass(frozen=True, slots=True)
class Difference:
    """value: the mean difference over the queries. low, high: its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Return plain values."""
        return {"value": self.value, "low": self.low, "high": self.high}


def paired_difference(
    one: Any, other: Any, *, groups: Any = None, samples: int = 1000
) -> Difference:
    """Tell how far one system is above another, query by query, by a paired bootstrap.

    one, other: (queries,), a figure of each query, q >= 1. groups: (queries,), of which seed or set
        each query is; queries are drawn with replacement within each. samples: draws, >= 1.
    Raises ShapeError.
    """
    first, second = (np.asarray(each, dtype=np.float64) for each in (one, other))
    belongs = np.zeros(len(first), np.int64) if groups is None else np.asarray(groups)
    if not first.shape == second.shape == belongs.shape or first.ndim != 1 or not len(first):
        raise ShapeError(
            "a paired difference: expected a figure of every query from both systems, (queries,), "
            f"got {first.shape} and {second.shape}"
        )
    apart = first - second
    rng = np.random.default_rng(0)
    means = np.zeros(samples)
    for group in np.unique(belongs):
        own = apart[belongs == group]
        for sample in range(samples):
            means[sample] += own[rng.integers(len(own), size=len(own))].sum()
    low, high = np.quantile(means / len(apart), (0.025, 0.975))
    return Difference(float(apart.mean()), float(low), float(high))


# Agreement of an approximate search with the exact one -------------------------------------------


def ann_recall(
    found: Sequence[Sequence[Any]], exact: Sequence[Sequence[Any]], k: int
) -> NDArray[np.float64]:
    """Share of the exact first k that are among the found first k: float64 (queries,), 0 to 1.

    found, exact: for each query the ids, best first (lists or int arrays). Where the exact list
    is shorter than k, its length is the divisor; where it is empty, the value is 1.
    Raises ShapeError when the numbers of queries differ.
    """
    check_cut(k)
    if len(found) != len(exact):
        raise ShapeError(f"expected found lists for {len(exact)} queries, got {len(found)}")
    shares = np.ones(len(exact))
    for query, (mine, truth) in enumerate(zip(found, exact, strict=True)):
        wanted = set(truth[:k])
        if wanted:
            shares[query] = len(wanted.intersection(mine[:k])) / len(wanted)
    return shares
