"""What makes the scores of an old side comparable with those of the new one.

A calibration turns scores of one old side into the scale of the new side; new scores stay as they
are. It is fitted on *reference items*: a sample that both models embedded, held out from the fit
of any transform. Every calibration rises strictly, so the order within a side never changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import ConfigError, ShapeError, VectorError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


Scores: TypeAlias = NDArray[np.float32]


class Calibrated(ABC):
    """A calibration made ready for some queries."""

    @abstractmethod
    def __call__(self, query: int, scores: Scores) -> Scores:
        """Return the comparable scores of one query's hits, float32 (n,).

        query: row of the query among those prepared. scores: the side's own, float (n,).
        """


class Calibration(ABC):
    """Abstract; see `none`, `z_score`, `isotonic` and `tail`. Frozen."""

    kind: ClassVar[str]
    """The word for this class in a file."""

    per_query: ClassVar[bool]
    """Whether `prepare` looks at the scores of its queries against the reference items."""

    @property
    @abstractmethod
    def arrays(self) -> Mapping[str, NDArray[np.float64]]:
        """All parameters by name; the class can be built again from them as keywords."""

    @abstractmethod
    def prepare(self, old_reference: Scores, new_reference: Scores) -> Calibrated:
        """Make ready for q queries.

        old_reference, new_reference: (q, r) scores of the queries with r reference items on the
            old and on the new side, column by column the same items. Not looked at, and allowed
            to be empty, where `per_query` is False.
        """


@final
@dataclass(frozen=True, slots=True)
class Line(Calibrated):
    """score * scale + shift, one line per query or one for all. Scales are positive."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]

    def __call__(self, query: int, scores: Scores) -> Scores:
        """Put the scores on the query's line."""
        row = query if len(self.scale) > 1 else 0
        return np.asarray(scores * self.scale[row] + self.shift[row], dtype=np.float32)


@final
@dataclass(frozen=True, slots=True)
class Uncalibrated(Calibration):
    """Scores unchanged: the naive merge, right only where the scales agree already."""

    kind: ClassVar[str] = "none"
    per_query: ClassVar[bool] = False

    @property
    def arrays(self) -> Mapping[str, NDArray[np.float64]]:
        """Nothing."""
        return {}

    def prepare(self, old_reference: Scores, new_reference: Scores) -> Calibrated:
        """Make ready: nothing to do."""
        return Line(np.ones(1), np.zeros(1))


def check_reference(old_scores: Scores, new_scores: Scores, least: int) -> None:
    """Raise where reference scores cannot be used: shapes differ, too few, NaN, constant."""
    if old_scores.ndim != 2 or old_scores.shape != new_scores.shape:
        raise ShapeError(
            "expected reference scores (queries, items) of one shape on both sides, got "
            f"{old_scores.shape} and {new_scores.shape}"
        )
    if old_scores.shape[1] < least:
        raise ShapeError(
            f"{old_scores.shape[1]} reference items are too few: at least {least} are needed here, "
            "and 500 give a steady calibration"
        )
    for name, scores in (("old", old_scores), ("new", new_scores)):
        if not np.all(np.isfinite(scores)):
            raise VectorError(f"reference scores of the {name} side hold NaN or infinite values")
        if np.ptp(scores) <= 0:
            raise VectorError(
                f"all reference scores of the {name} side are equal; are its vectors constant?"
            )


# Per-query tail calibration: both sides agree on what an unusually high score is -----------------
# For each query, its scores with the reference items show each side's own background: the median m,
# and how far the upper quantiles rise above it. With the quantiles p_1 .. p_h,
#     u = sqrt(mean_j (p_j - m)^2),        comparable = m_new + (score - m_old) * u_new / u_old
# so a hit ranks by how far it stands out from what this very query scores by chance, at the same
# rate of false hits on both sides. One quantile, 0.99, is the form measured while planning; several
# make the estimate steadier on a few hundred reference items. [derived and measured here]

QUANTILES = (0.90, 0.95, 0.97, 0.98, 0.99)
MIN_REFERENCE = 20
"""With fewer reference items an upper quantile means nothing."""


@final
@dataclass(frozen=True, slots=True)
class Tail(Calibration):
    """quantiles: float64 (h,), each between 0.5 and 1."""

    quantiles: NDArray[np.float64]
    kind: ClassVar[str] = "tail"
    per_query: ClassVar[bool] = True

    @property
    def arrays(self) -> Mapping[str, NDArray[np.float64]]:
        """The quantiles."""
        return {"quantiles": self.quantiles}

    def background(self, scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return each query's m and u, (q,), from its scores with reference items, (q, r)."""
        return _background(scores, self.quantiles)

    def prepare(self, old_reference: Scores, new_reference: Scores) -> Calibrated:
        """Measure both backgrounds of each query, (q, r) with r >= 20."""
        check_reference(old_reference, new_reference, least=MIN_REFERENCE)
        old_middle, old_rise = self.background(old_reference)
        new_middle, new_rise = self.background(new_reference)
        scale = new_rise / old_rise
        return Line(scale, new_middle - old_middle * scale)


def tail(quantiles: Sequence[float] = QUANTILES) -> Tail:
    """Make a tail calibration; there is nothing to fit. Raises ConfigError on a bad quantile."""
    if not quantiles or not all(0.5 < quantile < 1 for quantile in quantiles):
        raise ConfigError(f"quantiles must lie between 0.5 and 1, got {list(quantiles)}")
    return Tail(np.array(quantiles, dtype=np.float64))


def _background(
    scores: Scores, quantiles: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    places, weights = _tail_of(scores.shape[1], tuple(quantiles.tolist()))
    # For a row of a few hundred, sorting it whole is several times faster than `numpy.quantile`.
    found = np.sort(scores, axis=1).take(places, axis=1) @ weights
    middle, above = found[:, 0], found[:, 1:]
    rise = np.sqrt(np.vecdot(above, above) / len(quantiles))
    # A query that scores all references alike has no background to stand out from.
    return middle, np.maximum(rise, 1e-9 + 1e-6 * np.abs(middle))


@lru_cache(maxsize=16)
def _tail_of(
    count: int, quantiles: tuple[float, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what leads from a sorted row to its median, and to each quantile less the median.

    The places to take, and what each counts, (places, 1 + h): quantiles lie between neighbours, as
    `numpy.quantile` has them.
    """
    wanted = np.array((0.5, *quantiles)) * (count - 1)
    below = wanted.astype(np.int64)
    between, columns = wanted - below, np.arange(len(wanted))
    weights = np.zeros((2 * len(wanted), len(wanted)))
    weights[columns, columns] = 1 - between
    weights[columns + len(wanted), columns] = between
    weights[:, 1:] -= weights[:, :1]
    return np.concatenate([below, np.minimum(below + 1, count - 1)]), weights


# One line for all queries: mean and spread of random pairs' scores agree on both sides -----------
# Source: section 2.6b of the method notes (project default, measured there).


@final
@dataclass(frozen=True, slots=True)
class ZScore(Calibration):
    """new = old * scale + shift. scale, shift: float64 (1,)."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]
    kind: ClassVar[str] = "z_score"
    per_query: ClassVar[bool] = False

    @property
    def arrays(self) -> Mapping[str, NDArray[np.float64]]:
        """scale and shift."""
        return {"scale": self.scale, "shift": self.shift}

    def prepare(self, old_reference: Scores, new_reference: Scores) -> Calibrated:
        """Make ready: the line is the same for every query."""
        return Line(self.scale, self.shift)


def fit_z_score(old_scores: Scores, new_scores: Scores) -> ZScore:
    """Fit from scores (q, r) of the same item pairs on both sides, self pairs left out.

    Raises ShapeError, VectorError (NaN, constant).
    """
    check_reference(old_scores, new_scores, least=2)
    scale = float(np.std(new_scores, dtype=np.float64) / np.std(old_scores, dtype=np.float64))
    shift = float(
        np.mean(new_scores, dtype=np.float64) - scale * np.mean(old_scores, dtype=np.float64)
    )
    return ZScore(np.array([scale]), np.array([shift]))


# A monotone curve: the expected new score given the old one --------------------------------------
# Source: section 2.6b of the method notes; used for half-migrated text indexes by the project
# rebasis (section 6.3). As a regression it draws old scores to the middle, so the old side starves
# in the merged top; here as a baseline and for lists that must be read as new-model scores.

_SLOPE = 1e-3  # of the raw score, in units of the two spreads: steps would make ties otherwise
_KNOTS_MOST = 512


@final
@dataclass(frozen=True, slots=True)
class Curve(Calibrated):
    """Linear between knots, flat outside, plus slope * score."""

    old: NDArray[np.float64]
    new: NDArray[np.float64]
    slope: float

    def __call__(self, query: int, scores: Scores) -> Scores:
        """Look the scores up on the curve."""
        raw = np.asarray(scores, dtype=np.float64)
        return (np.interp(raw, self.old, self.new) + self.slope * raw).astype(np.float32)


@final
@dataclass(frozen=True, slots=True)
class Isotonic(Calibration):
    """The knots of the curve, float64 (n,) each, rising; slope: float64 (1,), positive."""

    old: NDArray[np.float64]
    new: NDArray[np.float64]
    slope: NDArray[np.float64]
    kind: ClassVar[str] = "isotonic"
    per_query: ClassVar[bool] = False

    @property
    def arrays(self) -> Mapping[str, NDArray[np.float64]]:
        """old, new and slope."""
        return {"old": self.old, "new": self.new, "slope": self.slope}

    def prepare(self, old_reference: Scores, new_reference: Scores) -> Calibrated:
        """Make ready: the curve is the same for every query."""
        return Curve(self.old, self.new, float(self.slope[0]))


def fit_isotonic(old_scores: Scores, new_scores: Scores) -> Isotonic:
    """Fit from scores (q, r) of the same item pairs on both sides, self pairs left out.

    Raises ShapeError, VectorError (NaN, constant).
    """
    from scipy.optimize import isotonic_regression

    check_reference(old_scores, new_scores, least=2)
    old = np.asarray(old_scores, dtype=np.float64).ravel()
    new = np.asarray(new_scores, dtype=np.float64).ravel()
    order = np.argsort(old, kind="stable")
    rising = isotonic_regression(new[order]).x
    # Even in rank below, geometric towards the top, where the hits are.
    rows = np.unique(
        np.concatenate(
            [
                np.linspace(0, len(order) - 1, _KNOTS_MOST // 2),
                len(order) - np.geomspace(1, len(order), _KNOTS_MOST // 2),
            ]
        ).astype(int)
    )
    slope = _SLOPE * new.std() / old.std()
    return Isotonic(old[order][rows], rising[rows], np.array([slope]))
