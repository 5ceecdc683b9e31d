"""A half-backfilled gallery as a matrix of scores, query chunk by query chunk.

Whatever the strategy, a query scores every item twice: as it would be found on the old side and as
it would be found on the new side. Which of the two counts depends on how far backfilling has come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Scores: TypeAlias = NDArray[np.floating]
"""Scores (queries, items), higher is better."""

Sides: TypeAlias = Callable[[slice], tuple[Scores, ...]]
"""For some queries, the scores of all items as old ones and as new ones; more for some merges."""

Merge: TypeAlias = Callable[..., Scores]
"""One matrix from all of them, given last which items have moved: bool (items,)."""


def side_of_each(old: Scores, new: Scores, moved: NDArray[np.bool_]) -> Scores:
    """Take each item's score on its own side: every strategy that makes scores comparable."""
    return np.where(moved, new, old)


@dataclass(frozen=True, slots=True)
class MixedGallery:
    """A strategy, ready to score a gallery at any stage of its backfilling.

    strategy: "naive_merge", "merge", "prefill" or "compatible"; free for other uses.
    transform, calibration: their names, for tables.
    sides, merge: see above.
    queries: which models embed a query while the gallery is mixed: "new", or "both".
    vectors_rewritten: stored vectors that the strategy rewrites before backfilling begins.
    fit_seconds: seconds of fitting. labels_used: whether fitting saw labels.
    """

    strategy: str
    transform: str
    calibration: str
    sides: Sides
    merge: Merge = side_of_each
    queries: Literal["new", "both"] = "new"
    vectors_rewritten: int = 0
    fit_seconds: float = 0.0
    labels_used: bool = False
