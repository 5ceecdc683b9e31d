"""Which items the map between the models gets wrong, guessed from their old vectors alone.

The residual of a map is known for pairs; the logarithm of it is predicted by ridge regression from
the old vector and from how close the nearest known items are. [own proposal; FastFill learns such a
head with labels, section 3 of the method notes]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hotfill.evaluation.sample import Side
from hotfill.transforms import fit_ridge

if TYPE_CHECKING:
    from hotfill.evaluation.fitting import Pairs
    from hotfill.evaluation.sample import Sample
    from hotfill.types import Vectors

NEAREST = 10
TOP = 10
MAX_LOGGED = 2000  # queries of the stand-in for a query log
PENALTIES = 10.0 ** np.arange(-3.0, 4.0)


@dataclass(frozen=True, slots=True, eq=False)
class Uncertainty:
    """Predicts how wrong the map is: higher is less sure, > 0."""

    known: Vectors
    weights: NDArray[np.float64]
    mean: NDArray[np.float64]
    offset: float

    def __call__(self, old: Vectors) -> NDArray[np.float64]:
        """old: (n, dimension) of unit length. Returns float64 (n,)."""
        return np.exp((_features(old, self.known) - self.mean) @ self.weights + self.offset)

    def of(self, side: Side) -> NDArray[np.float64]:
        """Predict for a whole gallery, block by block."""
        return np.concatenate([self(block) for _, block in side.blocks()])


def fit_uncertainty(sample: Sample, pairs: Pairs) -> Uncertainty:
    """Fit from the pairs: each half is mapped by a ridge map that saw the other half only."""
    old = np.concatenate([pairs.old_fit, pairs.old_reference])
    new = np.concatenate([pairs.new_fit, pairs.new_reference])
    even = np.arange(len(old)) % 2 == 0
    residual = np.empty(len(old))
    for half in (even, ~even):
        up = fit_ridge(old[half], new[half], source=sample.old.model, target=sample.new.model)
        residual[~half] = 1.0 - np.einsum("ij,ij->i", up(old[~half]), new[~half])
    features = _features(old, old, leave_own=True)
    mean = features.mean(axis=0)
    target = np.log(np.maximum(residual, 1e-6))
    weights = _ridge(features - mean, target - target.mean())
    return Uncertainty(old, weights, mean, float(target.mean()))


def old_popularity(sample: Sample) -> NDArray[np.float64]:
    """Count how often each gallery item was among the first ten of the old system: float64 (n,).

    The items used for fitting stand in for the queries of a log.
    """
    logged = sample.old.fit.read(slice(0, MAX_LOGGED))
    best = np.full((len(logged), TOP), -np.inf, dtype=np.float32)
    rows = np.zeros((len(logged), TOP), dtype=np.int64)
    for span, block in sample.old.gallery.blocks():
        scores = np.hstack([best, logged @ block.T])
        columns = np.hstack(
            [rows, np.broadcast_to(np.arange(span.start, span.stop), (len(logged), len(block)))]
        )
        top = np.argpartition(-scores, TOP - 1, axis=1)[:, :TOP]
        best = np.take_along_axis(scores, top, axis=1)
        rows = np.take_along_axis(columns, top, axis=1)
    return np.bincount(rows.ravel(), minlength=len(sample.old.gallery)).astype(np.float64)


def _features(old: Vectors, known: Vectors, *, leave_own: bool = False) -> NDArray[np.float64]:
    """The old vector, and its mean cosine with the nearest known items."""
    scores = old @ known.T
    if leave_own:
        np.fill_diagonal(scores, -np.inf)
    nearest = np.partition(scores, -NEAREST, axis=1)[:, -NEAREST:].mean(axis=1)
    return np.hstack([old, nearest[:, None]]).astype(np.float64)


def _ridge(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ridge regression with the penalty of least generalised cross-validation error."""
    left, values, right = np.linalg.svd(x, full_matrices=False)
    crossed = left.T @ y
    outside = float(y @ y - crossed @ crossed)

    def error(penalty: float) -> float:
        kept = values**2 / (values**2 + penalty)
        misfit = outside + float(np.square((1 - kept) * crossed).sum())
        return misfit / (1 - kept.sum() / len(y)) ** 2 if kept.sum() < len(y) else np.inf

    penalty = min(PENALTIES, key=error)
    return np.asarray(right.T @ (values / (values**2 + penalty) * crossed))
