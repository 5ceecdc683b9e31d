"""Where the relevant items of every query stand: all that the ranking metrics need.

A metric of a ranking depends on nothing but the ranks of the relevant items, so both inputs, a
matrix of scores and lists of search results, are turned into those ranks once.

Ties: among equal scores the item that stands earlier in the gallery ranks first. This is
deterministic and says nothing about sides or models; where the gallery is sorted by label, shuffle
it before scoring codes or ranks that tie often.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import InputError, ShapeError

if TYPE_CHECKING:
    from hotfill.metrics.relevance import Relevance


@dataclass(frozen=True, slots=True, eq=False)
class RelevantRanks:
    """The ranks of the relevant items, query after query.

    queries: how many queries came in. judged: int64 (j,), the rows among them that have a
        relevant item; the others are skipped, and every metric returns one value per judged query.
    ranks: float64 (m,), 1 is best, ascending within a query; infinite for items that a result
        list does not hold.
    grades: float64 (m,), > 0, one per rank.
    starts: int64 (j,), where each judged query's ranks begin.
    """

    queries: int
    judged: NDArray[np.int64]
    ranks: NDArray[np.float64]
    grades: NDArray[np.float64]
    starts: NDArray[np.int64]

    @property
    def skipped(self) -> int:
        """Queries without any relevant item."""
        return self.queries - len(self.judged)

    @property
    def relevant(self) -> NDArray[np.int64]:
        """How many relevant items each judged query has: int64 (j,), >= 1."""
        return np.diff(self.starts, append=len(self.ranks))

    def total(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Sum values, one per rank, for each judged query: float64 (j,)."""
        if not len(self.starts):
            return np.empty(0)
        return np.asarray(np.add.reduceat(values, self.starts), dtype=np.float64)

    def positions(self) -> NDArray[np.int64]:
        """Count the relevant items of each query from 1, best first: int64 (m,)."""
        first = np.repeat(self.starts, self.relevant)
        return np.arange(1, len(self.ranks) + 1) - first


def rank_scores(
    scores: Any, relevance: Relevance, *, exclude: Any = None, allow_none: bool = False
) -> RelevantRanks:
    """Rank a full matrix of scores.

    scores: (queries, n), higher is better, without NaN. Rows are sorted one at a time, so the
        extra memory is one row; cut a matrix that is too large into pieces of queries.
    relevance: for the same queries and gallery.
    exclude: int (queries,), the column to leave out for each query, -1 for none: with the gallery
        as query set, `np.arange(n)` takes every query out of its own ranking.
    allow_none: return an empty value where no query has a relevant item, for use on pieces.
    Raises ShapeError, InputError (NaN; no query with a relevant item).
    """
    matrix = np.asarray(scores)
    if matrix.dtype.kind != "f":
        matrix = matrix.astype(np.float64)
    if matrix.shape != (len(relevance), relevance.gallery):
        raise ShapeError(
            f"scores: expected shape ({len(relevance)}, {relevance.gallery}) as the relevance has, "
            f"got {matrix.shape}"
        )
    left_out = _left_out(exclude, *matrix.shape)
    pieces = []
    for query, row in enumerate(matrix):
        columns, grades = relevance.of(query)
        keep = columns != left_out[query]
        columns, grades = columns[keep], grades[keep]
        if len(columns):
            best_first = np.argsort(-row[columns], kind="stable")
            ranks = _ranks(row, columns[best_first], left_out[query])
            pieces.append((query, ranks, grades[best_first]))
    return _joined(pieces, len(matrix), allow_none)


def rank_lists(
    results: Sequence[Sequence[Any]],
    relevant: Sequence[Collection[Any] | Mapping[Any, float]],
) -> RelevantRanks:
    """Rank search results.

    results: for each query the ids found, best first, each once; lists may differ in length.
    relevant: for each query the ids that are relevant, or a mapping from id to grade (<= 0 is not
        relevant). Relevant ids that a list does not hold count as not found, so average precision
        over short lists is a lower bound of that over the full ranking.
    Raises ShapeError, InputError (an id twice; no query with a relevant item).
    """
    if len(results) != len(relevant):
        raise ShapeError(
            f"expected a set of relevant ids for each of {len(results)} result lists, "
            f"got {len(relevant)}"
        )
    pieces = []
    for query, (found, wanted) in enumerate(zip(results, relevant, strict=True)):
        rank = {item: place for place, item in enumerate(found, start=1)}
        if len(rank) != len(found):
            raise InputError(f"result list {query}: an id stands twice")
        grade = wanted if isinstance(wanted, Mapping) else dict.fromkeys(wanted, 1.0)
        pairs = sorted((rank.get(item, np.inf), grade[item]) for item in grade if grade[item] > 0)
        if pairs:
            ranks, grades = np.array(pairs, dtype=np.float64).T
            pieces.append((query, ranks, grades))
    return _joined(pieces, len(results), allow_none=False)


def _ranks(row: NDArray[Any], columns: NDArray[np.int64], left_out: int) -> NDArray[np.float64]:
    """Ranks of some columns of one row; columns best first, so that ranks come out ascending.

    Sorting values is several times faster than sorting positions.
    """
    ordered = np.sort(row)
    if np.isnan(ordered[-1]):
        raise InputError("scores hold NaN; check the vectors they were made from")
    targets = row[columns]
    up_to = np.searchsorted(ordered, targets, side="right")
    ranks = (len(row) + 1 - up_to).astype(np.float64)
    if np.any((up_to > 1) & (ordered[up_to - 2] == targets)):
        place = np.empty(len(row))
        place[np.argsort(-row, kind="stable")] = np.arange(1, len(row) + 1)
        ranks = place[columns]
    if left_out >= 0:
        score = row[left_out]
        ranks -= (score > targets) | ((score == targets) & (left_out < columns))
    return ranks


def _left_out(exclude: Any, queries: int, gallery: int) -> NDArray[np.int64]:
    if exclude is None:
        return np.full(queries, -1, dtype=np.int64)
    columns = np.asarray(exclude)
    if columns.shape != (queries,) or columns.dtype.kind not in "iu":
        raise ShapeError(
            f"exclude: expected int of shape ({queries},), got {columns.dtype} {columns.shape}"
        )
    if queries and not -1 <= columns.min() <= columns.max() < gallery:
        raise InputError(f"exclude: expected columns -1 .. {gallery - 1}")
    return columns.astype(np.int64)


def _joined(
    pieces: list[tuple[int, NDArray[np.float64], NDArray[np.float64]]],
    queries: int,
    allow_none: bool,
) -> RelevantRanks:
    if not pieces:
        if not allow_none:
            raise InputError(
                f"none of {queries} queries has a relevant item in the gallery, so there is "
                "nothing to measure; check labels or judgements"
            )
        return RelevantRanks(
            queries, np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.int64)
        )
    lengths = [len(ranks) for _, ranks, _ in pieces]
    return RelevantRanks(
        queries=queries,
        judged=np.array([query for query, _, _ in pieces], dtype=np.int64),
        ranks=np.concatenate([ranks for _, ranks, _ in pieces]),
        grades=np.concatenate([grades for _, _, grades in pieces]),
        starts=np.cumsum([0, *lengths[:-1]], dtype=np.int64),
    )
