"""One line for all queries: mean and spread of random pairs' scores agree on both sides.

Source: section 2.6b of the method notes (project default, measured there).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from hotfill.scoring.calibration import Calibrated, Calibration, Line, Scores, check_reference

if TYPE_CHECKING:
    from collections.abc import Mapping


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
