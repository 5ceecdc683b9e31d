"""Check searches against plain arithmetic: what a live gallery must answer, item by item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hotfill.upgrade.phases import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Set

    from hotfill.scoring import Scorer
    from hotfill.serving.results import SearchResult
    from hotfill.types import ModelId, Vectors

_ONE_SIDE = {Phase.PLANNED, Phase.CUT_OVER, Phase.COMPLETED}
_TOLERANCE = 2e-3  # of a cosine, between the store's arithmetic and this one


@dataclass(frozen=True)
class Oracle:
    """Exact embeddings of every drawing by both models, (drawings, dimension)."""

    vectors: Mapping[ModelId, Vectors]
    load_scorer: Callable[[], Scorer]

    def faults(
        self,
        result: SearchResult,
        query: int,
        before: Mapping[str, int],
        after: Mapping[str, int],
        excused: Set[str],
    ) -> list[str]:
        """Name everything that is wrong with a result.

        query: the drawing searched with. before, after: the drawing of every item just before and
        just after the search; items that were written in between are not judged.
        excused: items that a write had in hand.
        """
        steady = {item: row for item, row in before.items() if after.get(item) == row}
        faults = []
        if len(set(result.item_ids)) != len(result.item_ids):
            faults.append("an item was returned twice")
        faults += [
            f"{hit.item_id} was returned after it was deleted"
            for hit in result.hits
            if hit.item_id not in before.keys() | after.keys() | excused
        ]
        queries = self._queries(result, query)
        for hit in result.hits:
            if hit.item_id in steady:
                exact = queries[hit.model][0] @ self.vectors[hit.model][steady[hit.item_id]]
                if abs(float(exact) - hit.raw_score) > _TOLERANCE:
                    faults.append(f"{hit.item_id} scored {hit.raw_score:.4f}, exact {exact:.4f}")
        return faults + self._missing(result, queries, steady)

    def _queries(self, result: SearchResult, query: int) -> Mapping[ModelId, Vectors]:
        """Give the query as each side was searched with it."""
        own = self.vectors[result.query_model][[query]]
        if result.phase in _ONE_SIDE:
            return {result.query_model: own}
        return self.load_scorer().prepare(own).vectors

    def _missing(
        self, result: SearchResult, queries: Mapping[ModelId, Vectors], steady: Mapping[str, int]
    ) -> list[str]:
        """Find items that beat the last hit of every side they could be on, yet are not there."""
        names = list(steady)
        rows = np.fromiter(steady.values(), dtype=np.int64, count=len(names))
        beaten = np.zeros(len(names), dtype=np.bool_)
        for model, vector in queries.items():
            scores = [hit.raw_score for hit in result.hits if hit.model == model]
            if not scores:
                return []  # nothing of that side was good enough, so it sets no bound
            exact = self.vectors[model][rows] @ vector[0]
            beaten |= exact <= min(scores) + _TOLERANCE
        found = set(result.item_ids)
        return [
            f"{names[i]} is missing"
            for i in np.flatnonzero(~beaten).tolist()
            if names[i] not in found
        ]
