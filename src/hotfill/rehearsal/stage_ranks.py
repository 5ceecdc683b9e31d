"""Ranks of the relevant items at every stage of a backfill: counted once, not sorted every time.

At each stage an item counts with its old score until it has moved, and with its new score from then
on. So the rank of a relevant item is one more than the items above it on both sides,

    rank = 1 + #{not moved: old > its score} + #{moved: new > its score},

and both numbers fall out of a table: items above each relevant score, by the stage at which they
move. One sort of each side's scores fills the tables of all stages and orders, where ranking each
stage would sort as often as there are stages.

Ties are those of `hotfill.metrics.ranks`: among equal scores the item that stands earlier in the
gallery ranks first.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import InputError
from hotfill.metrics import RelevantRanks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.metrics import Relevance
    from hotfill.rehearsal.mixed_gallery import Scores

Rows = NDArray[np.int64]


@final
class StageRanks:
    """Several orders, cut into stages.

    orders: permutations of 0 .. items - 1. shares: ascending; at share s the first floor(s items)
        of an order have moved.
    Raises InputError where shares descend.
    """

    def __init__(self, orders: Sequence[Rows], shares: Sequence[float], items: int) -> None:
        if any(later < earlier for earlier, later in pairwise(shares)):
            raise InputError(f"shares of a backfill must ascend, got {tuple(shares)}")
        done = [int(share * items) for share in shares]
        stage = np.searchsorted(done, np.arange(items), side="right")
        self.stages = len(shares)
        self._moves_at = np.empty((len(orders), items), dtype=np.int64)  # stages: it never does
        for moves_at, order in zip(self._moves_at, orders, strict=True):
            moves_at[order] = stage

    def of(
        self, old: Scores, new: Scores, relevance: Relevance, query: int, left_out: int
    ) -> RelevantRanks | None:
        """Rank one query's relevant items; None where it has none.

        old, new: its scores of all items on both sides, (items,), without NaN. left_out: a column
            that does not take part, or -1.
        Each order and stage counts as a query of the result: row = order * stages + stage.
        """
        columns, grades = relevance.of(query)
        columns, grades = columns[columns != left_out], grades[columns != left_out]
        if not len(columns):
            return None
        own = np.stack([old[columns], new[columns]])
        scores, place = np.unique(own, return_inverse=True)
        place = place.reshape(own.shape)
        sides = _Side.of(old, scores, left_out), _Side.of(new, scores, left_out)
        ties = _Ties.of(sides, columns, place, len(old))
        ranks = np.stack(
            [self._ranks(moves_at, columns, place, sides, ties) for moves_at in self._moves_at]
        ).reshape(-1, len(columns))
        if np.all(grades == grades[0]):
            ranks.sort(axis=1)
            ordered = np.broadcast_to(grades, ranks.shape)
        else:
            best_first = np.argsort(ranks, axis=1)
            ranks = np.take_along_axis(ranks, best_first, axis=1)
            ordered = grades[best_first]
        rows = np.arange(len(ranks))
        return RelevantRanks(
            queries=len(ranks),
            judged=rows,
            ranks=ranks.ravel().astype(np.float64),
            grades=ordered.ravel(),
            starts=rows * len(columns),
        )

    def _ranks(
        self,
        moves_at: Rows,
        columns: Rows,
        place: NDArray[Any],
        sides: tuple[_Side, _Side],
        ties: _Ties | None,
    ) -> Rows:
        """Rank in one order: (stages, relevant items)."""
        stages = np.arange(self.stages)[:, None]
        old, new = (side.above(moves_at, self.stages) for side in sides)
        above = old[:, -1:] - old[:, :-1] + new[:, :-1]  # (scores, stages)
        moved = moves_at[columns] <= stages
        ranks = 1 + above[np.where(moved, place[1], place[0]), stages]
        if ties is not None:
            ranks += np.where(moved, *reversed(ties.before(moves_at, stages)))
        return np.asarray(ranks)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One side's items by score, as far as they reach the lowest relevant score.

    items: int64 (m,), ascending by score. begins, ends: (scores,), where the items that equal each
    relevant score begin and end.
    """

    items: Rows
    begins: Rows
    ends: Rows

    @classmethod
    def of(cls, row: Scores, scores: Scores, left_out: int) -> _Side:
        reaching = row >= scores[0]
        if left_out >= 0:
            reaching[left_out] = False
        items = np.flatnonzero(reaching)
        values = row[items]
        ascending = np.argsort(values)
        items, values = items[ascending], values[ascending]
        begins, ends = (np.searchsorted(values, scores, side) for side in ("left", "right"))
        return cls(items, begins, ends)

    def above(self, moves_at: Rows, stages: int) -> Rows:
        """Count items above each score that move up to each stage: (scores, stages + 1)."""
        count = len(self.ends)
        bounds = np.append(self.ends, len(self.items))
        row = np.repeat(np.arange(count) * (stages + 1), bounds[1:] - bounds[:-1])
        cells = row + moves_at[self.items[bounds[0] :]]
        table = np.bincount(cells, minlength=count * (stages + 1)).reshape(count, stages + 1)
        return np.asarray(table[::-1].cumsum(axis=0)[::-1].cumsum(axis=1))

    def equal(self, wanted: NDArray[np.bool_]) -> tuple[Rows, Rows]:
        """The items that have one of some scores, and which: wanted is bool (scores,)."""
        sizes = np.where(wanted, self.ends - self.begins, 0)
        first = np.repeat(self.begins - np.cumsum(sizes) + sizes, sizes)
        items = self.items[first + np.arange(len(first))]
        return items, np.repeat(np.arange(len(sizes)), sizes)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Ties:
    """Items on both sides that share a relevant score with another, by score and then by column.

    Of many float32 scores, a few are always equal by chance.
    items: int64 (e,). new: bool (e,), on which side. starts, stops: (2, r), where the ties of each
    relevant item's old and new score begin, and where those end that stand earlier in the gallery.
    """

    items: Rows
    new: NDArray[np.bool_]
    starts: Rows
    stops: Rows

    @classmethod
    def of(
        cls, sides: tuple[_Side, _Side], columns: Rows, place: NDArray[Any], gallery: int
    ) -> _Ties | None:
        wanted = sum(side.ends - side.begins for side in sides) > 1
        if not np.any(wanted):
            return None
        found = [side.equal(np.asarray(wanted)) for side in sides]
        items = np.concatenate([some for some, _ in found])
        keys = np.concatenate([score for _, score in found]) * gallery + items
        order = np.argsort(keys, kind="stable")
        edges = place * gallery
        starts, stops = (np.searchsorted(keys[order], edges + some) for some in (0, columns))
        return cls(items[order], order >= len(found[0][0]), starts, stops)

    def before(self, moves_at: Rows, stages: Rows) -> tuple[Rows, Rows]:
        """Count the ties that rank before each relevant item's old and new score: (stages, r)."""
        counts = (moves_at[self.items] <= stages) == self.new
        total = np.zeros((len(stages), len(self.items) + 1), dtype=np.int64)
        np.cumsum(counts, axis=1, out=total[:, 1:])
        old, new = (
            total[:, stop] - total[:, start]
            for start, stop in zip(self.starts, self.stops, strict=True)
        )
        return old, new
