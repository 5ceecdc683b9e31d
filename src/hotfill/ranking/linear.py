"""Ridge regression: the affine map with the least squared error, kept small by a penalty.

Minimises, over pairs (x, y) and with both sides centred,

    mean |x W - y|^2 + penalty * v * |W|^2,        v = mean squared length of x per dimension

in closed form [derived]. The penalty is thus free of units: 1 weighs one average direction of x
as much as the prior. The normal equations are sums over pairs, so a million pairs pass through in
batches, and only matrices of the two dimensions stay in memory, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np

from hotfill.errors import InputError, VectorError
from hotfill.ranking.pairs import check_pairs, varied_pairs
from hotfill.ranking.transform import BATCH_ROWS, Affine
from hotfill.vectors import has_free_length

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hotfill.ranking.transform import Facts
    from hotfill.types import ModelId, Vectors


# First and second moments of pairs, summed in float64 over batches -------------------------------
# All closed-form fits need no more of a million pairs than these: their memory is a few square
# matrices of the two dimensions.


@final
@dataclass(frozen=True, slots=True, eq=False)
class RidgeMap:
    """x -> x matrix + offset, float64: matrix (first, second), offset (second,)."""

    matrix: np.ndarray
    offset: np.ndarray


@final
class Moments:
    """Sums over pairs (x, y); grows with `add`, everything else only reads.

    first, second: dimensions of x and y. second_moments: whether y's own are summed too.
    """

    def __init__(self, first: int, second: int, *, second_moments: bool = False) -> None:
        self.count = 0
        self._x = np.zeros(first)
        self._y = np.zeros(second)
        self._xx = np.zeros((first, first))
        self._xy = np.zeros((first, second))
        self._yy = np.zeros((second, second)) if second_moments else None
        self._y_squares = 0.0

    def add(self, first: Vectors, second: Vectors) -> None:
        """Add a batch of pairs: (n, first), (n, second)."""
        self._forget()
        x, y = first.astype(np.float64), second.astype(np.float64)
        self.count += len(x)
        self._x += x.sum(axis=0)
        self._y += y.sum(axis=0)
        self._xx += x.T @ x
        self._xy += x.T @ y
        self._y_squares += float(np.square(y).sum())
        if self._yy is not None:
            self._yy += y.T @ y

    def add_all(self, first: Vectors, second: Vectors) -> None:
        """Add pairs in memory, batch by batch, so that only a batch is held in float64."""
        for start in range(0, len(first), BATCH_ROWS):
            stretch = slice(start, start + BATCH_ROWS)
            self.add(first[stretch], second[stretch])

    def join(self, other: Moments) -> None:
        """Add the pairs of another sum of the same kind."""
        self._forget()
        self.count += other.count
        self._x += other._x
        self._y += other._y
        self._xx += other._xx
        self._xy += other._xy
        self._y_squares += other._y_squares
        if self._yy is not None and other._yy is not None:
            self._yy += other._yy

    @property
    def mean_first(self) -> np.ndarray:
        """Mean of x, (first,)."""
        return self._x / self.count

    @property
    def mean_second(self) -> np.ndarray:
        """Mean of y, (second,)."""
        return self._y / self.count

    @cached_property
    def first_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Variances (first,), rising, and directions (columns) of x's covariance."""
        return _axes(self._xx / self.count - np.outer(self.mean_first, self.mean_first))

    @cached_property
    def second_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Variances (second,), rising, and directions (columns) of y's covariance."""
        if self._yy is None:
            raise ValueError("these moments were summed without second moments of y")
        return _axes(self._yy / self.count - np.outer(self.mean_second, self.mean_second))

    @cached_property
    def _projected(self) -> np.ndarray:
        crossed = self._xy / self.count - np.outer(self.mean_first, self.mean_second)
        return np.asarray(self.first_axes[1].T @ crossed)

    def ridge(self, penalty: float) -> RidgeMap:
        """Solve the ridge regression of y on x; see `ridge`. One decomposition serves all."""
        values, directions = self.first_axes
        # Directions without any spread carry nothing, and penalty 0 must not divide by 0.
        least = np.finfo(np.float64).eps * len(values) * float(values[-1])
        scale = np.where(
            values > least,
            1.0 / np.maximum(values + penalty * float(values.mean()), max(least, 1e-300)),
            0.0,
        )
        matrix = directions @ (scale[:, None] * self._projected)
        return RidgeMap(matrix, self.mean_second - self.mean_first @ matrix)

    def refuse_constant(self, first: ModelId, second: ModelId) -> None:
        """Raise VectorError where x or y never varies, from which nothing can be learned."""
        sums = (
            (first, float(np.trace(self._xx)), self._x),
            (second, self._y_squares, self._y),
        )
        for model, squares, total in sums:
            if squares - float(total @ total) / self.count <= 1e-9 * squares:
                raise VectorError(
                    f"all {self.count} vectors of {model} are the same; is its output constant?"
                )

    def _forget(self) -> None:
        for name in ("first_axes", "second_axes", "_projected"):
            self.__dict__.pop(name, None)


def _axes(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eigh(covariance)
    return np.maximum(values, 0.0), vectors


PENALTIES = tuple(float(10.0 ** (step / 2)) for step in range(-10, 5))
"""The grid tried when no penalty is given: 1e-5 to 100, half a decade apart."""

MIN_PAIRS = 20
"""With fewer pairs there is nothing to choose a penalty by."""

_HELD_OUT_EVERY = 5  # each fifth pair judges the penalty ...
_HELD_OUT_MOST = 2000  # ... until there are this many, enough to tell neighbouring penalties apart


def fit_ridge(
    source_vectors: Any,
    target_vectors: Any,
    *,
    source: ModelId,
    target: ModelId,
    penalties: Sequence[float] = PENALTIES,
) -> Affine:
    """Fit the affine map from pairs in memory; see the module for the equation.

    source_vectors, target_vectors: (n, dimension), row i of both is the same item, n >= 20.
    penalties: >= 0; the one with the best held-out agreement is used. One value is used as it is.
    Works in both directions: old to new (`up`) and new to old (`down`).
    Raises ShapeError, VectorError, InputError (too few pairs, a bad penalty).
    """
    first, second = check_pairs(
        source_vectors, target_vectors, source=source, target=target, least=MIN_PAIRS
    )
    batches = (
        (first[start : start + BATCH_ROWS], second[start : start + BATCH_ROWS])
        for start in range(0, len(first), BATCH_ROWS)
    )
    return fit_ridge_batches(batches, source=source, target=target, penalties=penalties)


def fit_ridge_batches(
    batches: Iterable[tuple[Any, Any]],
    *,
    source: ModelId,
    target: ModelId,
    penalties: Sequence[float] = PENALTIES,
) -> Affine:
    """Fit as `fit_ridge`, from batches of pairs that need not fit into memory together.

    Rows should come in no particular order: every fifth row, up to 2,000 from the start, is held
    out to choose the penalty, and rejoins the others for the final fit.
    """
    if not penalties or any(not (np.isfinite(p) and p >= 0) for p in penalties):
        raise InputError(f"penalties must be finite and >= 0, at least one; got {list(penalties)}")
    sums = Moments(source.dimension, target.dimension)
    held_out_sums = Moments(source.dimension, target.dimension)
    held_source: list[Vectors] = []
    held_target: list[Vectors] = []
    seen = held = 0
    for source_batch, target_batch in batches:
        first, second = check_pairs(source_batch, target_batch, source=source, target=target)
        out = (np.arange(seen, seen + len(first)) + 1) % _HELD_OUT_EVERY == 0
        out &= held + np.cumsum(out) <= _HELD_OUT_MOST
        seen += len(first)
        held += int(out.sum())
        sums.add(first[~out], second[~out])
        if out.any():
            held_out_sums.add(first[out], second[out])
            held_source.append(first[out])
            held_target.append(second[out])
    if seen < MIN_PAIRS:
        raise InputError(f"{seen} pairs are too few: at least {MIN_PAIRS} are needed")
    sums.refuse_constant(source, target)
    judged_source, judged_target = np.concatenate(held_source), np.concatenate(held_target)
    agreements = [
        _agreement(judged_source @ fitted.matrix + fitted.offset, judged_target, target)
        for fitted in map(sums.ridge, penalties)
    ]
    best = int(np.argmax(agreements))
    sums.join(held_out_sums)
    final = sums.ridge(penalties[best])
    facts: Facts = {
        "method": "ridge",
        "pairs": seen,
        "penalty": float(penalties[best]),
        "held_out_agreement": float(agreements[best]),
    }
    return Affine(source, target, {"matrix": final.matrix, "offset": final.offset}, facts)


def _agreement(mapped: np.ndarray, true: Vectors, target: ModelId) -> float:
    """Mean cosine where the space compares by it; else the share of variance explained."""
    if has_free_length(target):
        spread = float(np.square(true - true.mean(axis=0)).sum())
        return 1.0 - float(np.square(mapped - true).sum()) / max(spread, 1e-30)
    lengths = np.linalg.norm(mapped, axis=1) * np.linalg.norm(true, axis=1)
    return float(np.mean(np.einsum("ij,ij->i", mapped, true) / np.maximum(lengths, 1e-30)))


# Orthogonal Procrustes: the rotation (with reflection) that brings one space onto the other ------
# With paired rows X (n, d_s) and Y (n, d_t): X^T Y = U S V^T, R = U V^T, and x -> x R. R has
# orthonormal rows (d_s <= d_t) or columns (d_s > d_t), so it cannot stretch a direction: a strong
# prior that needs few pairs. Source: Schönemann 1966; used for embedding drift as "OP" in Vejendla
# 2025 (section 5 of the method notes) [equation derived].


def fit_procrustes(
    source_vectors: Any,
    target_vectors: Any,
    *,
    source: ModelId,
    target: ModelId,
    centre: bool = False,
) -> Affine:
    """Fit the orthogonal map from pairs.

    source_vectors, target_vectors: (n, dimension), row i of both is the same item; n must be at
        least the smaller dimension, or the rotation is not determined.
    centre: fit the rotation about the two means and add the shift between them. Off by default:
        with cosine spaces a pure rotation keeps all angles within the old space, and it was the
        better one on the real models measured (`benchmarks/mixed_quality`).
    Raises ShapeError, VectorError, InputError (too few pairs).
    """
    least = max(2, min(source.dimension, target.dimension))
    first, second = varied_pairs(
        source_vectors, target_vectors, source=source, target=target, least=least
    )
    mean_first = np.zeros(source.dimension)
    mean_second = np.zeros(target.dimension)
    if centre:
        mean_first = first.mean(axis=0, dtype=np.float64)
        mean_second = second.mean(axis=0, dtype=np.float64)
    crossed = np.zeros((source.dimension, target.dimension))
    for start in range(0, len(first), BATCH_ROWS):
        x = first[start : start + BATCH_ROWS] - mean_first
        y = second[start : start + BATCH_ROWS] - mean_second
        crossed += x.T @ y
    left, _, right = np.linalg.svd(crossed, full_matrices=False)
    matrix = left @ right
    facts: Facts = {"method": "procrustes", "pairs": len(first), "centred": int(centre)}
    offset = mean_second - mean_first @ matrix
    return Affine(source, target, {"matrix": matrix, "offset": offset}, facts)


# The low-rank affine map: ridge regression whose matrix has at most a given rank -----------------
# Drift-Adapter (Vejendla 2025, section 5 of the method notes) trains x -> U V^T x + t by gradient
# on the squared error. Its minimum has a closed form, reduced-rank regression [textbook]: with W
# the ridge solution and X the centred inputs, keep the r directions of the target space in
# which the fitted values X W vary most,
#     W_r = W P P^T,     P = first r eigenvectors of W^T (X^T X / n + penalty v I) W.
# A diagonal scale after the map keeps the rank, so the minimum already holds the best one. A low
# rank is a prior against noise where pairs are few; it cannot serve where the spaces differ in many
# directions.

RANK = 64
"""Drift-Adapter's."""


def fit_low_rank(
    source_vectors: Any,
    target_vectors: Any,
    *,
    source: ModelId,
    target: ModelId,
    rank: int = RANK,
    penalties: Sequence[float] = PENALTIES,
) -> Affine:
    """Fit the affine map of at most this rank from pairs; see the module.

    source_vectors, target_vectors: (n, dimension), row i of both is the same item, n >= 20.
    rank: >= 1; at the smaller dimension or above it this is `fit_ridge`.
    penalties: as in `fit_ridge`, chosen there at full rank.
    Raises ShapeError, VectorError, InputError (too few pairs, a bad rank or penalty).
    """
    if rank < 1:
        raise InputError(f"a low-rank map needs a rank >= 1, got {rank}")
    first, second = check_pairs(
        source_vectors, target_vectors, source=source, target=target, least=MIN_PAIRS
    )
    ridge = fit_ridge(first, second, source=source, target=target, penalties=penalties)
    centre = first.mean(axis=0, dtype=np.float64)
    gram = np.zeros((source.dimension, source.dimension))
    for start in range(0, len(first), BATCH_ROWS):
        centred = first[start : start + BATCH_ROWS] - centre
        gram += centred.T @ centred
    gram /= len(first)
    gram += float(ridge.facts["penalty"]) * np.trace(gram) / len(gram) * np.eye(len(gram))
    full = ridge.matrix.astype(np.float64)
    _, directions = np.linalg.eigh(full.T @ gram @ full)
    kept = directions[:, ::-1][:, :rank]
    matrix = full @ kept @ kept.T
    # The means still meet: only the spread about them lost directions.
    offset = ridge.offset + centre @ (full - matrix)
    facts: Facts = {
        "method": "low rank",
        "rank": min(rank, source.dimension, target.dimension),
        "pairs": len(first),
        "penalty": float(ridge.facts["penalty"]),
    }
    return Affine(source, target, {"matrix": matrix, "offset": offset}, facts)
