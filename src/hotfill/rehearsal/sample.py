"""What a rehearsal looks at: rows to fit on, a gallery and queries, kept apart.

Vectors stay where they are (an array or a memory-mapped file, float16 or float32) and are read
block by block, so that memory does not grow with the gallery.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import InputError, ShapeError, VectorError
from hotfill.types import ModelId, Vectors
from hotfill.vectors import check_vectors, unit

BLOCK = 4096  # rows read, mapped and compared at once
MIN_ITEMS = 300
MAX_QUERIES = 1000
MIN_QUERIES = 200
MAX_SCORES = 50_000_000  # queries times gallery items: above 50,000 items there are fewer queries
FIT_SHARE = 3  # at most one item in this many is used for fitting ...
QUERY_SHARE = 10  # ... and one in this many as a query, where there are no others


@final
class SampleSide:
    """Some rows of one model's vectors, given out as float32 of unit length.

    vectors: (m, dimension). rows: int64 (n,), which of them, in this order.
    """

    def __init__(self, vectors: Any, rows: NDArray[np.int64], model: ModelId) -> None:
        self._vectors = vectors
        self._rows = rows
        self.model = model

    def __len__(self) -> int:
        return len(self._rows)

    def spans(self) -> Iterator[slice]:
        """Cut all rows into blocks."""
        for start in range(0, len(self), BLOCK):
            yield slice(start, min(start + BLOCK, len(self)))

    def blocks(self) -> Iterator[tuple[slice, Vectors]]:
        """Walk all rows: where each block belongs, and its vectors."""
        for span in self.spans():
            yield span, self.read(span)

    def read(self, span: slice = slice(None)) -> Vectors:
        """Read some rows, (n, dimension)."""
        block = np.asarray(self._vectors[self._rows[span]], dtype=np.float32)
        return unit(block)


def cosines(queries: Vectors, gallery: SampleSide) -> Vectors:
    """Score queries (q, dimension) against a whole gallery: float32 (q, n)."""
    scores = np.empty((len(queries), len(gallery)), dtype=np.float32)
    for span, block in gallery.blocks():
        scores[:, span] = queries @ block.T
    return scores


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedBy:
    """What one model made of a gallery, and of queries.

    gallery: (n, dimension). queries: (q, dimension), or None where there are none.
    queries_from_items: whether those are contents of items, embedded as queries are.
    """

    gallery: Any
    queries: Any = None
    queries_from_items: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Classes: what has the query's label is relevant.

    items: (n,), integers or texts. queries: (q,) of the same kind, or None without queries.
    """

    items: Any
    queries: Any = None


Judgements: TypeAlias = Mapping[str, Mapping[str, float]]
"""Grades by query and item, both named by their row number as text; above 0 is relevant."""


@dataclass(frozen=True, slots=True)
class ModelSample:
    """One model's vectors of everything in a sample."""

    fit: SampleSide
    gallery: SampleSide
    queries: SampleSide

    @property
    def model(self) -> ModelId:
        """The space of all three."""
        return self.gallery.model


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """The same items and queries seen by both models.

    fit, gallery: rows among the items, int64, disjoint. queries: rows among the queries, or among
    the items where the queries were drawn from those.
    queries_given: how many there were to draw from; 0 where they were drawn from the items.
    queries_from_items: whether those are contents of other items, embedded as queries are.
    """

    old: ModelSample
    new: ModelSample
    fit: NDArray[np.int64]
    gallery: NDArray[np.int64]
    queries: NDArray[np.int64]
    queries_given: int
    queries_from_items: bool = False

    @property
    def has_queries(self) -> bool:
        """Whether queries were given."""
        return self.queries_given > 0


def draw_sample(
    old: EmbeddedBy,
    new: EmbeddedBy,
    *,
    fit: int,
    seed: int,
    judged: Collection[int] | None = None,
) -> Sample:
    """Split items into rows to fit on and gallery; draw queries where none are given.

    old, new: of the same n >= 300 items and the same queries. fit: wanted pairs; at most n // 3 are
    taken. Without queries, n // 10 items become queries and leave the gallery; of given queries as
    many as there are. At most 1,000, and fewer where the gallery is larger than 50,000 items, but
    200 at least.
    judged: rows of given queries; others are not drawn.
    Raises ShapeError (rows that do not match, one dimension), VectorError (NaN, zero or constant
    vectors), InputError (too few items, queries of one model only).
    """
    asked_vectors = old.queries, new.queries
    if (old.queries is None) != (new.queries is None):
        raise InputError(
            "queries are needed from both models, or from neither; one array is missing"
        )
    both = old.gallery, new.gallery
    models = _model("old", old.gallery), _model("new", new.gallery)
    items = _rows_of("items", *both)
    if items < MIN_ITEMS:
        raise InputError(
            f"{items} items are too few: at least {MIN_ITEMS} are needed, a third of them as pairs "
            "to fit on; some thousand give a steady answer"
        )
    if fit < 1:
        raise InputError(f"the number of pairs to fit on must be >= 1, got {fit}")
    shuffled = np.random.default_rng(seed).permutation(items)
    pairs = min(fit, items // FIT_SHARE)
    most = min(MAX_QUERIES, max(MIN_QUERIES, MAX_SCORES // (items - pairs)))
    if old.queries is not None:
        given = _rows_of("queries", *asked_vectors)
        for model, queries in zip(models, asked_vectors, strict=True):
            _check(queries, model, constant=False)
        asked = np.random.default_rng(seed).permutation(given)
        if judged is not None:
            asked = asked[np.isin(asked, list(judged))]
        asked = asked[:most]
        gallery = np.sort(shuffled[pairs:])
    else:
        given = 0
        count = min(most, items // QUERY_SHARE)
        asked = shuffled[pairs : pairs + count]
        asked_vectors = both
        gallery = np.sort(shuffled[pairs + count :])
    for model, vectors in zip(models, both, strict=True):
        _check(vectors, model, constant=True)
    sides = [
        ModelSample(
            SampleSide(vectors, shuffled[:pairs], model),
            SampleSide(vectors, gallery, model),
            SampleSide(queries, asked, model),
        )
        for vectors, queries, model in zip(both, asked_vectors, models, strict=True)
    ]
    from_items = new.queries_from_items
    return Sample(sides[0], sides[1], shuffled[:pairs], gallery, asked, given, from_items)


def _model(name: str, vectors: Any) -> ModelId:
    shape = np.shape(vectors)
    if len(shape) != 2 or shape[1] < 1:
        raise ShapeError(f"{name} vectors: expected shape (n, dimension), got {shape}")
    if shape[1] == 1:
        raise ShapeError(
            f"{name} vectors: one dimension has nothing to compare by the cosine but a sign; "
            "expected two or more"
        )
    return ModelId(name, "rehearsal", shape[1], normalised=False)


def _rows_of(what: str, old: Any, new: Any) -> int:
    if len(old) != len(new):
        raise ShapeError(
            f"{what}: row i of both arrays must be the same one, so both need as many rows; "
            f"got {len(old)} old and {len(new)} new"
        )
    return len(old)


def _check(vectors: Any, model: ModelId, *, constant: bool) -> None:
    """Read all rows once; refuse what cannot be compared."""
    first = np.asarray(vectors[0], dtype=np.float32)
    same = True
    for start in range(0, len(vectors), BLOCK):
        block = np.asarray(vectors[start : start + BLOCK])
        names = [f"row {row}" for row in range(start, start + len(block))]
        checked = check_vectors(
            block, model.dimension, item_ids=names, what=f"{model.name} vectors"
        )
        same = same and np.allclose(checked, first, rtol=1e-6, atol=0)
    if constant and same:
        raise VectorError(
            f"all {len(vectors)} {model.name} vectors are the same; is the model's output constant?"
        )
