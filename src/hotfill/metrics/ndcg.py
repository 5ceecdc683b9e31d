"""Normalised discounted cumulative gain at k."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hotfill.metrics.cut import check_cut

if TYPE_CHECKING:
    from hotfill.metrics.ranks import RelevantRanks


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
