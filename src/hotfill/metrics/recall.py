"""Recall at k: how much of what is relevant is at the top."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hotfill.metrics.cut import check_cut

if TYPE_CHECKING:
    from hotfill.metrics.ranks import RelevantRanks


def recall(ranks: RelevantRanks, k: int) -> NDArray[np.float64]:
    """Share of each judged query's relevant items among its first k: float64 (j,), 0 to 1.

    The divisor is the number of relevant items, also where that is more than k.
    """
    check_cut(k)
    return ranks.total(ranks.ranks <= k) / ranks.relevant
