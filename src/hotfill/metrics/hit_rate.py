"""Hit rate at k, also called CMC or, misleadingly, recall: is anything relevant at the top?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hotfill.metrics.cut import check_cut

if TYPE_CHECKING:
    from hotfill.metrics.ranks import RelevantRanks


def hit_rate(ranks: RelevantRanks, k: int) -> NDArray[np.bool_]:
    """Tell for each judged query whether a relevant item is among its first k: bool (j,).

    The mean is the hit rate at k; the values are what `negative_flips` compares.
    """
    check_cut(k)
    return np.asarray(ranks.ranks[ranks.starts] <= k)
