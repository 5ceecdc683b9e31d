"""A query's view by the side's own model, beside that of the new model carried over.

Where queries are of another kind than the items (claims and abstracts), a map fitted on items can
lose what the old model knew of queries. Its own encoding, where there still is one, brings it back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from hotfill.checks import check_vectors
from hotfill.errors import InputError, ShapeError
from hotfill.scoring.compare import compare, compare_as_they_are, of_unit_length

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hotfill.scoring.calibration import Calibrated, Scores
    from hotfill.scoring.side import Side
    from hotfill.types import ModelId, Vectors


OWN_SHARE = 1 / 3
"""Of an old item's score, where it counts at all. Chosen on labelled pairs, see decision 0003."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class OwnView:
    """A side as its own model sees it: q queries embedded by it, of unit length, calibrated."""

    side: Side
    queries: Vectors
    calibrated: Calibrated

    @classmethod
    def of(cls, side: Side, own: Vectors, new_scores: Scores) -> OwnView:
        """Calibrate; new_scores: (q, r), the new side's scores of the reference items."""
        queries = of_unit_length(own, side.model)
        old_scores = compare_as_they_are(queries, side.reference, side.model)
        return cls(side, queries, side.calibration.prepare(old_scores, new_scores))

    def blend(self, query: int, stored: Vectors, scores: Scores) -> Scores:
        """Give the side's own model its share of the scores of stored vectors."""
        own = compare(self.queries[query : query + 1], stored, self.side.model)[0]
        share = self.side.own_share
        return (1 - share) * scores + share * self.calibrated(query, own)


def own_queries_of(
    side: Side, count: int, own_queries: Mapping[ModelId, Vectors]
) -> Vectors | None:
    """Find the queries embedded by the side's own model, where they count."""
    if side.transform is not None and not (side.own_share and side.model in own_queries):
        return None
    if side.model not in own_queries:
        raise InputError(
            f"the side of {side.model} has no transform: pass the queries embedded by that model "
            "as own_queries"
        )
    own = check_vectors(
        own_queries[side.model], side.model.dimension, what=f"queries of {side.model.name}"
    )
    if len(own) != count:
        raise ShapeError(f"expected {count} queries of {side.model}, got {len(own)}")
    return own


def searching_vectors(side: Side, new: Vectors, own: Vectors | None) -> Vectors:
    """Make the vectors to search a side with.

    Two views of a query are one vector of old space, their sum, once both scatter the scores of the
    reference items alike: inner products add up.
    """
    if side.transform is None:
        assert own is not None  # `own_queries_of` saw to it
        return own
    carried = side.transform(new)
    if own is None:
        return carried
    share = side.own_share
    views = ((1 - share, carried), (share, of_unit_length(own, side.model)))
    summed = sum(part / _spread(view, side.reference) * view for part, view in views)
    return np.asarray(summed, dtype=np.float32)


def _spread(queries: Vectors, reference: Vectors) -> NDArray[np.float32]:
    """Standard deviation of each query's inner products with the reference items, (q, 1)."""
    spread = (queries @ reference.T).std(axis=1, keepdims=True)
    return np.asarray(np.maximum(spread, 1e-12))
