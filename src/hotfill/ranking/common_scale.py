"""One scale for hits of one index that came about in several ways: by the model, or by imputation.

A hit carries its *origin*: the fingerprint of the model, or of the imputation that made its vector.
The query's own background tells what its scores mean on each: its scores with reference items,
whose vectors are there both as the model makes them and as the imputation does. An imputed hit's
score s becomes

    m_new + (s - m_imputed) u_new / u_imputed

with median m and upper rise u as in `calibration.Tail`; the model's own scores stay. Nothing is
read again: 2 x 500 inner products a query and origin.

Where the map loses what the old model knows of queries (rho is low, see `one_space`), the old
model embeds each query too, and has a share of every item's score: see `OldQueryScores`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from hotfill.errors import InputError, ShapeError
from hotfill.ranking.calibration import tail
from hotfill.ranking.rank_merge import RankedHits, SideHits, rank_merge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
@dataclass(frozen=True, slots=True, eq=False)
class CommonScale:
    """model: fingerprint of the space's model. imputed: references by fingerprint of imputation.

    Several imputations stand there in a chain of upgrades, and while vectors are being refreshed.
    """

    model: str
    imputed: Mapping[str, ReferenceItems]

    def prepare(self, queries: Vectors) -> Background:
        """Measure the backgrounds of queries as the index is searched with them, (q, d)."""
        queries = np.asarray(queries, dtype=np.float32)
        return Background(
            self.model,
            len(queries),
            {
                origin: tail().prepare(queries @ reference.imputed.T, queries @ reference.own.T)
                for origin, reference in self.imputed.items()
            },
        )


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
        comparable = np.array(scores, dtype=np.float32)
        made_by = np.array(origins, dtype=object)
        for origin in dict.fromkeys(origins):
            if origin == self.model:
                continue
            if origin not in self.lines:
                raise InputError(
                    f"a hit's vector was made by {origin}, which is neither the model "
                    f"{self.model} nor an imputation in force ({', '.join(self.lines) or 'none'}); "
                    "run `hotfill start` again: it imputes such vectors anew"
                )
            here = made_by == origin
            comparable[here] = self.lines[origin](query, comparable[here])
        return comparable

    def rank(self, hits: Hits, origins: Sequence[Sequence[str]], k: int) -> list[RankedHits]:
        """Return the k best of each query's hits on the common scale.

        hits: of one index, some times k. origins: of each hit, in the same order.
        `RankedHits.sides` is 1 for the model's own vectors and 0 for imputed ones.
        """
        if len(hits.item_ids) != self.count or len(origins) != self.count:
            raise ShapeError(
                f"expected hits and origins of {self.count} queries, got {len(hits.item_ids)} "
                f"and {len(origins)}"
            )
        return [self._rank(hits, query, made_by, k) for query, made_by in enumerate(origins)]

    def _rank(self, hits: Hits, query: int, made_by: Sequence[str], k: int) -> RankedHits:
        item_ids, raw = hits.item_ids[query], np.asarray(hits.scores[query], dtype=np.float32)
        scores = self.scores(query, raw, made_by)
        own = np.array([origin == self.model for origin in made_by], dtype=np.bool_)
        sides = []
        for here in (~own, own):
            rows = np.flatnonzero(here)
            rows = rows[np.argsort(-scores[rows], kind="stable")]
            sides.append(SideHits([item_ids[row] for row in rows], scores[rows], raw[rows]))
        return rank_merge(sides, k)
