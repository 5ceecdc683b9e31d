"""The scorer: from one query to one vector per side, and from the sides' scores to one ranking.

Transforms and calibrations of all old sides are one frozen object, so a search never mixes halves
of two versions. Use, for any store:

    prepared = scorer.prepare(queries)
    hits = gallery.search(prepared.vectors, prepared.depth(k))
    ranked = prepared.rank(hits, k, read=gallery.vectors)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import InputError, ModelMismatchError, ShapeError
from hotfill.ranking.bridge import Bridge
from hotfill.ranking.calibration import Calibrated, Scores
from hotfill.ranking.kernel import KernelBridge
from hotfill.ranking.rank_merge import RankedHits, SideHits, rank_merge
from hotfill.ranking.transform import StampedTransform
from hotfill.ties import best_first
from hotfill.vectors import Checked, as_stored, check_vectors, checked

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.ranking.calibration import Calibration
    from hotfill.stores.base import Found, Hits
    from hotfill.types import ModelId, Transform, Vectors

OLD_QUERY_WEIGHT = 1 / 3
"""Of an old item's score, where it counts at all. A third, chosen on labelled pairs."""

Read: TypeAlias = "Callable[[Sequence[str], ModelId], Found]"
"""Reads vectors of some items in a space, as `Gallery.vectors`."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class OldSide:
    """One old side of the gallery and how it is searched with a query of the new model.

    model: the old space.
    transform: new model's queries to vectors that search this side; None where the caller embeds
        each query with the old model too. A `Bridge` scores the best hits a second time, exactly.
    calibration: the side's scores to the new side's scale.
    reference: vectors of the reference items in this space, float32 (r, dimension).
    old_query_weight: the share of an item's calibrated score that the query embedded by the side's
        own model gives, the transform giving the rest; 0 to less than 1. Counts for queries that
        come with it. It is for queries of another kind than the items (claims and abstracts),
        where a map fitted on items can lose what the old model knew of queries.
    """

    model: ModelId
    transform: Transform | None
    calibration: Calibration
    reference: Vectors
    old_query_weight: float = 0.0


@final
class Scorer:
    """Makes all sides of a half-upgraded gallery comparable. Frozen.

    new_model: the space the gallery moves to.
    new_reference: vectors of the reference items in it, float32 (r, dimension); row i is the same
        item as row i of every side's reference.
    sides: the old sides, oldest first; one for an upgrade, more for a chain of upgrades.
    """

    def __init__(
        self, new_model: ModelId, new_reference: Vectors, sides: Sequence[OldSide]
    ) -> None:
        self.new_model = new_model
        self.new_reference = _frozen_reference(new_reference, new_model)
        count = len(self.new_reference)
        self.sides = tuple(_checked_side(side, new_model, count) for side in sides)
        self._bridges = [
            side.transform if isinstance(side.transform, Bridge | KernelBridge) else None
            for side in self.sides
        ]
        self._reference_features = [
            _NONE if bridge is None else bridge.gallery_features(side.reference)
            for side, bridge in zip(self.sides, self._bridges, strict=True)
        ]
        models = [*(side.model for side in self.sides), new_model]
        if len(set(models)) != len(models):
            raise InputError("a scorer has one side per model; a model came twice")

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """All sides' spaces, oldest first, as `Gallery.spaces`."""
        return (*(side.model for side in self.sides), self.new_model)

    def prepare(
        self,
        queries: Vectors | Checked,
        old_queries: Mapping[ModelId, Vectors | Checked] | None = None,
        *,
        refine: bool = True,
    ) -> Prepared:
        """Make q queries of the new model ready for every side.

        queries: float32 (q, new_model.dimension).
        old_queries: the same queries embedded by old models: needed for sides without a transform,
            of use for those with an `old_query_weight`, ignored for others.
        refine: whether the best hits of sides with a `Bridge` are to be scored exactly.
        Raises ShapeError, VectorError, InputError (a side without a transform lacks its queries).
        """
        new = checked(queries, self.new_model, what="queries")
        vectors: dict[ModelId, Checked] = {}
        calibrated: dict[ModelId, Calibrated] = {}
        refined: dict[ModelId, Refined] = {}
        new_scores = _NONE
        if any(side.calibration.per_query for side in self.sides):
            new_scores = compare_stored(new.rows, self.new_reference, self.new_model)
        for side, bridge, reference in zip(
            self.sides, self._bridges, self._reference_features, strict=True
        ):
            own = _old_queries_of(side, len(new), old_queries or {})
            searching = _searching_vectors(side, new, own)
            vectors[side.model] = searching
            old_scores = _NONE
            if side.calibration.per_query:
                old_scores = compare_stored(searching.rows, side.reference, side.model)
            calibrated[side.model] = side.calibration.prepare(old_scores, new_scores)
            if refine and bridge is not None:
                features = bridge.query_features(new)
                line = side.calibration.prepare(features @ reference.T, new_scores)
                view = None if own is None else OldQueryView.of(side, own, new_scores)
                refined[side.model] = Refined(bridge, features, line, view)
        vectors[self.new_model] = new
        return Prepared(vectors, calibrated, refined)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Some queries, ready to search every side.

    vectors: per space (q, dimension), checked, oldest space first; give them to `Gallery.search`.
    calibrated: per old space the calibration of the store's scores for these queries.
    refined: per old space that scores its best hits exactly, how.
    """

    vectors: Mapping[ModelId, Checked]
    calibrated: Mapping[ModelId, Calibrated]
    refined: Mapping[ModelId, Refined]

    def depth(self, k: int, most: int | None = None) -> int:
        """How many hits to search for on every side when k are wanted.

        most: that the store finds for a query; None for any number.
        """
        deep = k * max([refined.bridge.overfetch for refined in self.refined.values()], default=1)
        return max(k, min(deep, most or deep))

    def rank(
        self, hits: Mapping[ModelId, Hits], k: int, *, read: Read | None = None
    ) -> list[RankedHits]:
        """Merge what the sides found into one list of the k best per query.

        hits: per space what was found; spaces that were not searched are left out.
        read: reads stored vectors, for the sides that score their hits exactly; without it the
            store's own scores are used. An item whose vector is gone keeps the store's score.
        `RankedHits.sides` counts the spaces of `hits` from the oldest; its `scores` are on the
        new side's scale.
        Raises ModelMismatchError (a space this scorer does not know), InputError, ShapeError.
        """
        for space in hits:
            if space not in self.vectors:
                raise ModelMismatchError("hits of a side", list(self.vectors)[-1], space)
        spaces = [space for space in self.vectors if space in hits]
        count = len(next(iter(self.vectors.values())))
        for space in spaces:
            if len(hits[space].item_ids) != count or len(hits[space].scores) != count:
                raise ShapeError(f"expected hits of {count} queries from {space}")
        return [
            rank_merge([self._side_hits(space, hits[space], row, read) for space in spaces], k)
            for row in range(count)
        ]

    def _side_hits(self, space: ModelId, found: Hits, query: int, read: Read | None) -> SideHits:
        item_ids, raw = found.item_ids[query], np.asarray(found.scores[query], dtype=np.float32)
        if space not in self.calibrated:
            return SideHits(item_ids, raw, raw)
        scores = self.calibrated[space](query, raw)
        if space not in self.refined or read is None or not item_ids:
            return SideHits(item_ids, scores, raw)
        refined, stored = self.refined[space], read(item_ids, space)
        row_of = {item_id: row for row, item_id in enumerate(item_ids)}
        rows = [row_of[item_id] for item_id in stored.item_ids]
        scores[rows] = refined(query, stored.vectors)
        order = best_first(scores, lambda equal: equal)  # equal ones as the gallery ordered them
        return SideHits([item_ids[row] for row in order], scores[order], raw[order])


@final
@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """How one side's hits are scored exactly: features of the q queries, and their calibration.

    old_query_view: what the side's own model says of them, if it was asked.
    """

    bridge: Bridge | KernelBridge
    features: Vectors
    calibrated: Calibrated
    old_query_view: OldQueryView | None

    def __call__(self, query: int, stored: Vectors) -> Scores:
        """Score stored vectors (n, dimension) for one query, on the new side's scale: (n,)."""
        found = Checked(stored, self.bridge.target)
        exact = self.bridge.gallery_features(found) @ self.features[query]
        scores = self.calibrated(query, exact)
        if self.old_query_view is None:
            return scores
        return self.old_query_view.blend(query, stored, scores)


@final
@dataclass(frozen=True, slots=True, eq=False)
class OldQueryView:
    """A side as its own model sees it: q queries embedded by it, of unit length, calibrated."""

    side: OldSide
    queries: Vectors
    calibrated: Calibrated

    @classmethod
    def of(cls, side: OldSide, own: Checked, new_scores: Scores) -> OldQueryView:
        """Calibrate; new_scores: (q, r), the new side's scores of the reference items."""
        old_scores = compare_stored(own.rows, side.reference, side.model)
        return cls(side, own.rows, side.calibration.prepare(old_scores, new_scores))

    def blend(self, query: int, stored: Vectors, scores: Scores) -> Scores:
        """Give the side's own model its share of the scores of stored vectors."""
        own = compare_stored(self.queries[query : query + 1], stored, self.side.model)[0]
        share = self.side.old_query_weight
        return (1 - share) * scores + share * self.calibrated(query, own)


def compare(queries: Vectors, vectors: Vectors, model: ModelId) -> Scores:
    """Score each query with each vector as a store does: (q, n) float32, higher is better."""
    return compare_stored(as_stored(queries, model), as_stored(vectors, model), model)


def compare_stored(queries: Vectors, vectors: Vectors, model: ModelId) -> Scores:
    """Score rows that are as `as_stored` returns them: (q, n) float32."""
    scores = queries @ vectors.T
    if model.metric == "l2":
        squares = np.square(queries).sum(axis=1)[:, None] + np.square(vectors).sum(axis=1)
        scores = -np.sqrt(np.maximum(squares - 2 * scores, 0))
    return np.asarray(scores, dtype=np.float32)


_NONE = np.empty((0, 0), dtype=np.float32)


def _checked_side(side: OldSide, new_model: ModelId, references: int) -> OldSide:
    """Refuse what does not belong to these models; give the side with its reference frozen."""
    if side.transform is not None:
        for what, expected, received in (
            ("the source of a side's transform", new_model, side.transform.source),
            ("the target of a side's transform", side.model, side.transform.target),
        ):
            if expected != received:
                raise ModelMismatchError(what, expected, received)
    if not 0 <= side.old_query_weight < 1:
        raise InputError(
            f"old_query_weight: expected 0 to less than 1, got {side.old_query_weight}"
        )
    reference = _frozen_reference(side.reference, side.model)
    if len(reference) != references:
        raise ShapeError(
            f"expected {references} reference items on every side, got {len(reference)} "
            f"of {side.model}"
        )
    return replace(side, reference=reference)


def _frozen_reference(vectors: Any, model: ModelId) -> Vectors:
    """Copy reference vectors, of unit length, so that nobody can write to them."""
    rows = check_vectors(vectors, model.dimension, what=f"reference vectors of {model.name}")
    lengths = np.linalg.norm(rows, axis=1)
    if np.any(np.abs(lengths - 1) > 1e-6):  # so that a saved scorer comes back bit for bit
        rows = as_stored(rows, model)  # once, not for every query
    copy = rows.copy()
    copy.flags.writeable = False
    return copy


def _old_queries_of(
    side: OldSide, count: int, old_queries: Mapping[ModelId, Vectors | Checked]
) -> Checked | None:
    """Find the queries embedded by the side's own model, where they count."""
    if side.transform is not None and not (side.old_query_weight and side.model in old_queries):
        return None
    if side.model not in old_queries:
        raise InputError(
            f"the side of {side.model} has no transform: pass the queries embedded by that model "
            "as old_queries"
        )
    own = checked(old_queries[side.model], side.model, what=f"queries of {side.model.name}")
    if len(own) != count:
        raise ShapeError(f"expected {count} queries of {side.model}, got {len(own)}")
    return own


def _searching_vectors(side: OldSide, new: Checked, own: Checked | None) -> Checked:
    """Make the vectors to search a side with.

    Two views of a query are one vector of old space, their sum, once both scatter the scores of the
    reference items alike: inner products add up.
    """
    if side.transform is None:
        assert own is not None  # `_old_queries_of` saw to it
        return own
    if isinstance(side.transform, StampedTransform):
        carried = side.transform.carry(new)
    else:
        carried = checked(side.transform(new.rows), side.model, what="mapped queries")
    if own is None:
        return carried
    share = side.old_query_weight
    views = ((1 - share, carried.rows), (share, own.rows))
    summed = sum(part / _spread(view, side.reference) * view for part, view in views)
    return checked(summed, side.model, what="queries of two models")


def _spread(queries: Vectors, reference: Vectors) -> NDArray[np.float32]:
    """Standard deviation of each query's inner products with the reference items, (q, 1)."""
    spread = (queries @ reference.T).std(axis=1, keepdims=True)
    return np.asarray(np.maximum(spread, 1e-12))
