"""A monotone curve: the expected new score given the old one.

Source: section 2.6b of the method notes; used for half-migrated text indexes by the project
rebasis (section 6.3). As a regression it draws old scores to the middle, so the old side starves
in the merged top; here as a baseline and for lists that must be read as new-model scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from hotfill.scoring.calibration import Calibrated, Calibration, Scores, check_reference

if TYPE_CHECKING:
    from collections.abc import Mapping

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
