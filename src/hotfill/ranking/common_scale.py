"""One scale for hits of one index that came about in several ways: by the model, or by imputation.

A hit carries its *origin*: the fingerprint of the model, or of the imputation that made its vector.
The query's own background tells what its scores mean on each: its scores with reference items,
whose vectors are there both as the model makes them and as the imputation does. An imputed hit's
score s becomes

    m_new + (s - m_imputed) u_new / u_imputed

with median m and upper rise u as in `calibration.Tail`; the model's own scores stay. Nothing is
read again: 2 x 500 inner products a query and origin, which are one product with one matrix.

Where the map loses what the old model knows of queries (rho is low, see `one_space`), the old
model embeds each query too, and has a share of every item's score: see `OldQueryScores`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, final

import numpy as np

from hotfill.errors import InputError, ShapeError
from hotfill.ranking.calibration import MIN_REFERENCE, Line, check_reference, tail
from hotfill.ranking.rank_merge import RankedHits
from hotfill.ties import best_first

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.ranking.calibration import Calibrated, Scores
    from hotfill.stores.base import Hits
    from hotfill.types import Vectors


@final
@dataclass(frozen=True, slots=True, eq=False)
class ReferenceItems:
    """Reference items of one imputation: row i of both is one item that it was not fitted on.

    own: (r, d) as the model makes them. imputed: (r, d). Both float32, as the index has them.
    """

    own: Vectors
    imputed: Vectors


@final
@dataclass(frozen=True, eq=False)
class CommonScale:
    """model: fingerprint of the space's model. imputed: references by fingerprint of imputation.

    Several imputations stand there in a chain of upgrades, and while vectors are being refreshed.
    Keep one for all queries: what they share is put together by the first of them.
    """

    model: str
    imputed: Mapping[str, ReferenceItems]

    def prepare(self, queries: Vectors, origins: Collection[str] | None = None) -> Background:
        """Measure the backgrounds of queries as the index is searched with them, (q, d).

        origins: the imputations of which hits are to be ranked; None for all. What is not among
            the hits need not be measured, which is nearly all that a query costs.
        Raises ShapeError (fewer than 20 reference items), VectorError (they are constant).
        """
        queries = np.asarray(queries, dtype=np.float32)
        return Background(
            self.model,
            len(queries),
            {
                origin: _line(queries, both)
                for origin, both in self._both.items()
                if origins is None or origin in origins
            },
        )

    @cached_property
    def _both(self) -> Mapping[str, Vectors]:
        """Of each imputation the imputed references, then the true ones: float32 (2 r, d)."""
        for reference in self.imputed.values():
            one = reference.own[:1]
            check_reference(one @ reference.imputed.T, one @ reference.own.T, least=MIN_REFERENCE)
        return {
            origin: np.concatenate([reference.imputed, reference.own], dtype=np.float32)
            for origin, reference in self.imputed.items()
        }


def _line(queries: Vectors, both: Vectors) -> Line:
    """Lead each query's scores of imputed vectors to the scale of true ones. both: (2 r, d)."""
    scores = np.vecdot(queries[:, None, :], both) if len(queries) <= _FEW else queries @ both.T
    middle, rise = _TAIL.background(scores.reshape(2 * len(queries), -1))
    scale = rise[1::2] / rise[::2]
    return Line(scale, middle[1::2] - middle[::2] * scale)


_TAIL = tail()
_FEW = 4
"""Queries whose products are made row by row. For one matrix product BLAS wakes all its threads,
and waking them costs more than the product: 3.2 ms instead of 0.8 with cold caches (1,000 x 1,024,
two threads)."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class OldQueryScores:
    """What the old model's own queries say of items, live or kept: a share of every score.

    lines: the old model's scores to the scale of the new model's own vectors.
    weight: a, the old model's share of the score of an item that has not moved, 0 to 1.
    moved: s, the share of the gallery that has moved, 0 to 1.

    An imputed item has (1 - a) new + a old; a moved one (1 - b) new + b old with b = a (1 - s), so
    that the end is exactly the new model. Either kind of item may be found by either query: search
    the index and the old vectors, kept ones too, and read what a found item lacks.
    """

    lines: Calibrated
    weight: float
    moved: float

    def blend(self, query: int, scores: Scores, old_scores: Scores, own: Sequence[bool]) -> Scores:
        """Return the blended scores of one query's items, float32 (n,).

        scores: on the common scale. old_scores: of the old query with the items' old vectors, as
        the old space compares them. own: whether an item has moved.
        """
        weight = np.where(np.asarray(own, bool), self.weight * (1 - self.moved), self.weight)
        calibrated = self.lines(query, np.asarray(old_scores, dtype=np.float32))
        return np.asarray((1 - weight) * scores + weight * calibrated, dtype=np.float32)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """Some queries' backgrounds: `count` of them, one calibration per imputation."""

    model: str
    count: int
    lines: Mapping[str, Calibrated]

    def scores(self, query: int, scores: Scores, origins: Sequence[str]) -> Scores:
        """Put one query's scores, float32 (n,), on the scale of the model's own vectors.

        Raises InputError for an origin that is neither the model nor a known imputation.
        """
        return self._scores(query, np.array(scores, dtype=np.float32), origins, {*origins})

    def _scores(
        self, query: int, raw: Scores, origins: Sequence[str], different: set[str]
    ) -> Scores:
        comparable = raw
        for origin in different - {self.model}:
            if origin not in self.lines:
                raise InputError(
                    f"a hit's vector was made by {origin}, which is neither the model "
                    f"{self.model} nor an imputation in force ({', '.join(self.lines) or 'none'}); "
                    "run `hotfill start` again: it imputes such vectors anew"
                )
            on_line = self.lines[origin](query, raw)
            if len(different) == 1:
                return on_line
            comparable = np.where(_made_by(origin, origins), on_line, comparable)
        return comparable

    def rank(self, hits: Hits, origins: Sequence[Sequence[str]], k: int) -> list[RankedHits]:
        """Return the k best of each query's hits on the common scale.

        hits: of one index, some times k. origins: of each hit, in the same order.
        `RankedHits.sides` is 1 for the model's own vectors and 0 for imputed ones. Equal scores are
        ordered by the rank among those of the same side, and then by item id.
        Raises ShapeError (another number of queries), InputError (an origin, a score that is NaN).
        """
        if len(hits.item_ids) != self.count or len(origins) != self.count:
            raise ShapeError(
                f"expected hits and origins of {self.count} queries, got {len(hits.item_ids)} "
                f"and {len(origins)}"
            )
        return [self._rank(hits, query, made_by, k) for query, made_by in enumerate(origins)]

    def _rank(self, hits: Hits, query: int, made_by: Sequence[str], k: int) -> RankedHits:
        item_ids, raw = hits.item_ids[query], np.asarray(hits.scores[query], dtype=np.float32)
        scores = self._scores(query, raw, made_by, {*made_by})

        def keys(rows: list[int]) -> list[tuple[int, str]]:
            ranks = _ranks_within(scores, _made_by(self.model, made_by))
            return [(int(ranks[row]), item_ids[row]) for row in rows]

        order = best_first(scores, keys)
        if len(order) and np.isnan(scores[order[-1]]):  # it sorts last
            raise InputError("a comparable score is NaN: is a reference item's vector all zero?")
        best = order[:k]
        rows = best.tolist()
        return RankedHits(
            item_ids=tuple([item_ids[row] for row in rows]),
            # Equal ones may stand the other way round.
            scores=np.minimum.accumulate(scores[best]),
            raw_scores=raw[best],
            sides=np.array([made_by[row] == self.model for row in rows], dtype=np.int64),
        )


def _made_by(origin: str, origins: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([each == origin for each in origins], dtype=np.bool_)


def _ranks_within(scores: Scores, own: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rank each hit among those of its side, from 0; equal ones as the gallery ordered them."""
    ranks = np.empty(len(scores), dtype=np.int64)
    for here in (~own, own):
        rows = np.flatnonzero(here)
        ranks[rows[np.argsort(-scores[rows], kind="stable")]] = np.arange(len(rows))
    return ranks
