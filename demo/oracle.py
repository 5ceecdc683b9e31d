"""Check searches against plain arithmetic: what a live gallery must answer, item by item."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from demo.constants import K
from hotfill.upgrade.phases import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence, Set

    from numpy.typing import NDArray

    from hotfill.ranking import Fit
    from hotfill.types import ModelId, Vectors
    from hotfill.upgrade.view import SearchResult

_ONE_SIDE = {Phase.PLANNED, Phase.CUT_OVER, Phase.COMPLETED}
_TOLERANCE = 2e-3  # of a cosine, between the store's arithmetic and this one


@dataclass(frozen=True)
class Oracle:
    """Exact embeddings of every drawing by both models, (drawings, dimension).

    load_fits: reads the fits whose imputed vectors may be in the index, the one in force last.
    is_calibrated: whether hits are ranked by what made their vectors.
    """

    vectors: Mapping[ModelId, Vectors]
    load_fits: Callable[[], Sequence[Fit]]
    is_calibrated: Callable[[], bool]
    _imputed: dict[str, tuple[Fit, Vectors]] = field(default_factory=dict)

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
                row = steady[hit.item_id]
                exact = [side.raw(row) for side in sides if side.model == hit.model]
                if not any(abs(score - hit.raw_score) <= _TOLERANCE for score in exact):
                    faults.append(f"{hit.item_id} scored {hit.raw_score:.4f}, exact {exact}")
        return faults + _missing(result, sides, steady)

    def _sides(self, result: SearchResult, query: int) -> list[_Side]:
        """Give what the phase may find an item by, and how each scores every drawing."""
        model = result.query_model
        own = self.vectors[model][[query]]
        all_own = self.vectors[model]
        exact = all_own @ own[0]
        sides = [_Side(model, all_own, own[0], exact, len(exact))]
        if result.phase not in _ONE_SIDE:
            sides += self._imputed_sides(model, own)
            prepared = self.load_fits()[-1].prepare(own)
            for model, refined in prepared.refined.items():
                vectors = self.vectors[model]
                features = refined.bridge.gallery_features(vectors)
                comparable = refined.calibrated(0, features @ refined.features[0])
                searching = prepared.vectors[model].compared[0]
                sides.append(_Side(model, vectors, searching, comparable, prepared.depth(K)))
        return sides

    def _imputed_sides(self, new_model: ModelId, query: Vectors) -> list[_Side]:
        """Give every fit that was met so far: vectors of an earlier one may have been found."""
        for fit in self.load_fits():
            if fit.up.fingerprint not in self._imputed:
                old = self.vectors[fit.up.source]
                self._imputed[fit.up.fingerprint] = (fit, fit.up(old))
        calibrated, sides = self.is_calibrated(), []
        for fit, vectors in self._imputed.values():
            plain = vectors @ query[0]
            sides.append(_Side(new_model, vectors, query[0], plain, K))
            if calibrated and fit.one_space is not None:
                # Until the last old vector is imputed, and half a second longer, the plain order
                # counts; then this one.
                line = fit.one_space.scale.prepare(query).lines[fit.one_space.origin]
                depth = K * fit.one_space.overfetch
                sides.append(_Side(new_model, vectors, query[0], line(0, plain), depth))
        return sides


@dataclass(frozen=True)
class _Side:
    """What an item may be found by, as the search sees it.

    model: of its side. vectors: of every drawing. query: what searches them.
    comparable: score of every drawing. depth: how many of the side's best hits are looked at.
    """

    model: ModelId
    vectors: Vectors
    query: NDArray[np.float32]
    comparable: NDArray[np.float32]
    depth: int

    def raw(self, drawing: int) -> float:
        """Score a drawing as the store does."""
        return float(self.vectors[drawing] @ self.query)

    def must_beat(
        self, bound: float, rows: NDArray[np.int64], highest: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Tell which drawings would be looked at and score above a bound, if they are here.

        highest: of all drawings of these rows, the highest raw score that each may have here.
        """
        raw = self.vectors[rows] @ self.query
        last = np.sort(highest)[-min(self.depth, len(raw))]
        better: NDArray[np.bool_] = (raw >= last) & (self.comparable[rows] > bound)
        return better


def _missing(result: SearchResult, sides: Sequence[_Side], steady: Mapping[str, int]) -> list[str]:
    """Find items that beat the last hit on every side they could be on, yet are not there."""
    if not result.hits:
        return ["nothing was found"]
    names = list(steady)
    rows = np.fromiter(steady.values(), dtype=np.int64, count=len(names))
    bound = result.hits[-1].score + _TOLERANCE
    raw = {
        model: np.max([each.vectors[rows] @ each.query for each in sides if each.model == model], 0)
        for model in {side.model for side in sides}
    }
    better = np.all([side.must_beat(bound, rows, raw[side.model]) for side in sides], axis=0)
    found = set(result.item_ids)
    return [
        f"{names[row]} is missing"
        for row in np.flatnonzero(better).tolist()
        if names[row] not in found
    ]
