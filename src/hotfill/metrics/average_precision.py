"""Average precision, over the full ranking or at k. The mean over queries is map or map@k."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hotfill.metrics.cut import check_cut

if TYPE_CHECKING:
    from hotfill.metrics.ranks import RelevantRanks


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
