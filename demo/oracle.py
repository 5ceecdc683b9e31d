"""Check searches against plain arithmetic: what a live gallery must answer, item by item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from demo.constants import K
from hotfill.upgrade.phases import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Set

    from numpy.typing import NDArray

    from hotfill.ranking import Scorer
    from hotfill.types import ModelId, Vectors
    from hotfill.upgrade.view import SearchResult

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
        sides = self._sides(result, query)
        for hit in result.hits:
            if hit.item_id in steady:
                exact = sides[hit.model].raw(steady[hit.item_id])
                if abs(exact - hit.raw_score) > _TOLERANCE:
                    faults.append(f"{hit.item_id} scored {hit.raw_score:.4f}, exact {exact:.4f}")
        return faults + _missing(result, sides, steady)

    def _sides(self, result: SearchResult, query: int) -> dict[ModelId, _Side]:
        """Give the sides that the phase searches, and how each scores every drawing."""
        own = self.vectors[result.query_model][[query]]
        all_own = self.vectors[result.query_model]
        exact = all_own @ own[0]
        sides = {result.query_model: _Side(all_own, own[0], exact, len(exact))}
        if result.phase not in _ONE_SIDE:
            prepared = self.load_scorer().prepare(own)
            for model, refined in prepared.refined.items():
                vectors = self.vectors[model]
                features = refined.bridge.gallery_features(vectors)
                comparable = refined.calibrated(0, features @ refined.features[0])
                searching = prepared.vectors[model].compared[0]
                sides[model] = _Side(vectors, searching, comparable, prepared.depth(K))
        return sides


@dataclass(frozen=True)
class _Side:
    """One side as the search sees it.

    vectors: of every drawing. query: what searches them. comparable: score of every drawing.
    depth: how many of the side's best hits are looked at.
    """

    vectors: Vectors
    query: NDArray[np.float32]
    comparable: NDArray[np.float32]
    depth: int

    def raw(self, drawing: int) -> float:
        """Score a drawing as the store does."""
        return float(self.vectors[drawing] @ self.query)

    def must_beat(self, bound: float, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which drawings would be looked at and score above a bound, if they are here."""
        raw = self.vectors[rows] @ self.query
        last = np.sort(raw)[-min(self.depth, len(raw))]
        better: NDArray[np.bool_] = (raw >= last) & (self.comparable[rows] > bound)
        return better


def _missing(
    result: SearchResult, sides: Mapping[ModelId, _Side], steady: Mapping[str, int]
) -> list[str]:
    """Find items that beat the last hit on every side they could be on, yet are not there."""
    if not result.hits:
        return ["nothing was found"]
    names = list(steady)
    rows = np.fromiter(steady.values(), dtype=np.int64, count=len(names))
    bound = result.hits[-1].score + _TOLERANCE
    better = np.all([side.must_beat(bound, rows) for side in sides.values()], axis=0)
    found = set(result.item_ids)
    return [
        f"{names[row]} is missing"
        for row in np.flatnonzero(better).tolist()
        if names[row] not in found
    ]
