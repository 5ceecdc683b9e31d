"""Regressions from one space to another, as plain functions of rows: linear, or by kernels.

Both are closed forms. With unit-length rows x about their mean, x', landmarks l_j (some of the
rows fitted on) and

    k(x, l) = exp(-sharpness |x' - l'|^2 / m),       m = median squared distance between landmarks

the kernel regression is sum_j k(x, l_j) a_j: what a two-layer network would do, without a training
loop. Where the old space holds what the new one needs but not along straight lines, it is far
better than a linear map. [kernel ridge: textbook; landmarks as in the Nyström method]

Targets are usually vectors of the new space, centred and whitened:

    W (y - mean),        W = (C + floor tr(C)/d I)^(-strength/2),        C the covariance of y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, final

import numpy as np

from hotfill.errors import ShapeError
from hotfill.ranking.pairs import agreement
from hotfill.ranking.transform import BATCH_ROWS
from hotfill.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hotfill.types import Vectors

STRENGTH, FLOOR = 0.4, 0.3
"""Of the whitening; full strength (1) fell below the old model on image pairs."""

_ROWS = 512  # predicted at once: 2,000 kernel values for each take 4 MB
LANDMARKS = 2_000
PAIRS_MOST = 4_000
"""Pairs that a kernel is fitted on: more change little once every landmark has several."""

_TARGETS_AT_ONCE = 64
_PRECISION = 1e-7  # of float32
_TRIED = 1_200  # landmarks with which settings are compared
_HELD_OUT_MOST, _HELD_OUT_SHARE = 500, 5  # one pair in five judges them, up to this many
SHARPNESSES = (0.5, 1.0, 2.0, 4.0)
PENALTIES = (0.03, 0.1, 0.3, 1.0)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """y -> W (y - mean). mean (d,), matrix W (d, d) symmetric, float32."""

    mean: Vectors
    matrix: Vectors

    def __call__(self, rows: Vectors) -> Vectors:
        """Return the whitened rows, float32 (n, d), not of unit length."""
        return np.asarray((rows - self.mean) @ self.matrix, dtype=np.float32)


def fit_whitening(vectors: Vectors) -> Whitening:
    """Fit to vectors as their space compares them, (n, d)."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), BATCH_ROWS):
        centred = vectors[start : start + BATCH_ROWS] - mean
        covariance += centred.T @ centred
    values, axes = np.linalg.eigh(covariance / len(vectors))
    values = np.maximum(values, 0.0)
    scale = (values + FLOOR * max(float(values.mean()), 1e-30)) ** (-STRENGTH / 2)
    return Whitening(mean.astype(np.float32), ((axes * scale) @ axes.T).astype(np.float32))


@final
@dataclass(frozen=True, slots=True, eq=False)
class LinearRegression:
    """x -> x matrix + offset. matrix (d_x, d_y), offset (d_y,), float32."""

    matrix: Vectors
    offset: Vectors

    def __call__(self, rows: Vectors) -> Vectors:
        """Predict, float32 (n, d_y)."""
        return np.asarray(rows @ self.matrix + self.offset, dtype=np.float32)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The fields by name."""
        return {"matrix": self.matrix, "offset": self.offset}


@final
@dataclass(frozen=True, slots=True, eq=False)
class KernelRegression:
    """The kernel regression. centre (d_x,), landmarks (m, d_x), weights (m, d_y), exponent (1,)."""

    centre: Vectors
    landmarks: Vectors
    weights: Vectors
    exponent: Vectors

    def __call__(self, rows: Vectors) -> Vectors:
        """Predict, float32 (n, d_y)."""
        found = np.empty((len(rows), self.weights.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), _ROWS):
            stretch = slice(start, start + _ROWS)
            turned = about(rows[stretch], self.centre)
            found[stretch] = kernel(turned, self.landmarks, float(self.exponent[0])) @ self.weights
        return found

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The fields by name."""
        return {
            "centre": self.centre,
            "exponent": self.exponent,
            "landmarks": self.landmarks,
            "weights": self.weights,
        }


Regression: TypeAlias = LinearRegression | KernelRegression


def regression_of(arrays: Mapping[str, np.ndarray]) -> Regression:
    """Build either kind from its arrays. Raises ShapeError."""
    for kind, names in (
        (LinearRegression, {"matrix", "offset"}),
        (KernelRegression, {"centre", "exponent", "landmarks", "weights"}),
    ):
        if set(arrays) == names:
            return kind(**arrays)
    raise ShapeError(f"no regression has the arrays {', '.join(sorted(arrays)) or 'none'}")


def fit_linear(rows: Vectors, targets: Vectors, penalty: float) -> LinearRegression:
    """Fit ridge regression. penalty: in units of the mean variance of a direction of rows."""
    mean, middle = rows.mean(axis=0, dtype=np.float64), targets.mean(axis=0, dtype=np.float64)
    gram = np.zeros((rows.shape[1], rows.shape[1]))
    crossed = np.zeros((rows.shape[1], targets.shape[1]))
    for start in range(0, len(rows), BATCH_ROWS):
        centred = rows[start : start + BATCH_ROWS] - mean
        gram += centred.T @ centred
        crossed += centred.T @ (targets[start : start + BATCH_ROWS] - middle)
    gram[np.diag_indices(len(gram))] += (penalty + 1e-9) * max(np.trace(gram), 1e-30) / len(gram)
    matrix = solve_positive(gram, crossed)
    return LinearRegression(matrix.astype(np.float32), (middle - mean @ matrix).astype(np.float32))


def fit_kernel_regression(
    rows: Vectors,
    targets: Vectors,
    *,
    sharpness: float,
    penalty: float,
    landmarks: int = LANDMARKS,
) -> KernelRegression:
    """Fit on pairs in random order, of which the first 4,000 are used.

    landmarks: how many of them kernels stand on, at most.
    """
    rows, targets = rows[:PAIRS_MOST], targets[:PAIRS_MOST]
    centre = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    turned = about(rows, centre)
    exponent = sharpness / median_square(turned)
    stands = turned[:landmarks]
    weights = kernel_weights(turned, targets, stands, exponent, penalty)
    return KernelRegression(
        centre, stands, weights.astype(np.float32), np.array([exponent], np.float32)
    )


def choose_kernel(
    rows: Vectors,
    targets: Vectors,
    sharpnesses: Sequence[float] = SHARPNESSES,
    penalties: Sequence[float] = PENALTIES,
) -> tuple[float, float, float]:
    """Return sharpness and penalty whose predictions of held-out pairs agree best, and how well.

    Pairs in random order. How well: `agreement` of predictions with the targets, 0 to 1.
    """
    rows, targets = rows[:PAIRS_MOST], targets[:PAIRS_MOST]
    held = min(_HELD_OUT_MOST, len(rows) // _HELD_OUT_SHARE)
    turned = about(rows, rows[held:].mean(axis=0, dtype=np.float64))
    unit_exponent = 1.0 / median_square(turned[held : held + LANDMARKS])
    tried = slice(held, held + _TRIED)
    best = (-1.0, 0.0, 0.0)
    for sharpness in sharpnesses:
        gram = kernel(turned[tried], turned[tried], sharpness * unit_exponent)
        seen = kernel(turned[:held], turned[tried], sharpness * unit_exponent)
        for penalty in penalties:
            mapped = _solve(gram, seen.T, penalty).T @ targets[tried]
            score = agreement(targets[:held], mapped)
            if score > best[0]:
                best = (score, float(sharpness), float(penalty))
    return best[1], best[2], best[0]


def choose_linear(
    rows: Vectors, targets: Vectors, penalties: Sequence[float] = PENALTIES
) -> tuple[float, float]:
    """Return the penalty of a linear regression, and how well it agrees; see `choose_kernel`."""
    held = min(_HELD_OUT_MOST, len(rows) // _HELD_OUT_SHARE)
    scores = [
        agreement(targets[:held], fit_linear(rows[held:], targets[held:], penalty)(rows[:held]))
        for penalty in penalties
    ]
    best = int(np.argmax(scores))
    return float(penalties[best]), float(scores[best])


def about(rows: np.ndarray, centre: np.ndarray) -> Vectors:
    """Return rows of unit length as seen from the centre."""
    return np.asarray(unit(rows - centre), dtype=np.float32)


def kernel(rows: Vectors, landmarks: Vectors, exponent: float) -> Vectors:
    """Return k of each row with each landmark, (n, m); both of unit length."""
    values = rows @ landmarks.T  # |a - b|^2 = 2 - 2 <a, b>
    values -= np.float32(1)
    values *= np.float32(2 * exponent)
    np.exp(values, out=values)
    return values


def median_square(turned: Vectors) -> float:
    """Return the median squared distance between unit rows, by the first 500."""
    some = turned[:500]
    return max(float(np.median(2 - 2 * some @ some.T)), 1e-6)


def kernel_weights(
    turned: Vectors, targets: np.ndarray, landmarks: Vectors, exponent: float, penalty: float
) -> np.ndarray:
    """Solve for the weights on all pairs; more than landmarks are summed by batches (Nyström)."""
    gram = kernel(landmarks, landmarks, exponent).astype(np.float64)
    if len(turned) == len(landmarks):
        return _solve(gram, targets, penalty)
    squares = penalty * gram
    crossed = np.zeros((len(landmarks), targets.shape[1]))
    for start in range(0, len(turned), _ROWS):
        stretch = slice(start, start + _ROWS)
        # Products of a few rows in float32, twice as quick; their sums are kept in float64.
        values = kernel(turned[stretch], landmarks, exponent)
        squares += values.T @ values
        crossed += values.T @ targets[stretch]
    # Kernel values are float32: directions below that precision are noise and must not be solved.
    squares += _PRECISION * np.trace(squares) * np.eye(len(squares))
    return solve_positive(squares, crossed)


def _solve(gram: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    """Solve in the precision of gram: float32 will do to compare, not to keep."""
    system = gram.copy()
    system[np.diag_indices(len(gram))] += penalty + _PRECISION * np.trace(system)
    return solve_positive(system, targets)


def solve_positive(system: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Solve a symmetric positive definite system (n, n) for targets (n, d), in its precision.

    A service fits while it answers. SciPy's factorisation keeps Python's lock to its end, NumPy's
    does not; what is left to SciPy is done for some targets at once.
    Raises LinAlgError where the system is not positive definite.
    """
    from scipy.linalg import cho_solve

    factor = np.linalg.cholesky(system).T
    solved = np.empty(targets.shape, np.result_type(system, targets))
    for start in range(0, targets.shape[1], _TARGETS_AT_ONCE):
        some = slice(start, start + _TARGETS_AT_ONCE)
        solved[:, some] = cho_solve((factor, False), targets[:, some], check_finite=False)
    return solved
