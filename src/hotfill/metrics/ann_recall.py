"""Agreement of an approximate search with the exact one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import ShapeError
from hotfill.metrics.cut import check_cut

if TYPE_CHECKING:
    from collections.abc import Sequence


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
