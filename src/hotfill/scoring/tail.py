"""Per-query tail calibration: both sides agree on what an unusually high score is.

For each query, its scores with the reference items show each side's own background: the median m,
and how far the upper quantiles rise above it. With the quantiles p_1 .. p_h,

    u = sqrt(mean_j (p_j - m)^2),        comparable = m_new + (score - m_old) * u_new / u_old

so a hit ranks by how far it stands out from what this very query scores by chance, at the same
rate of false hits on both sides. One quantile, 0.99, is the form measured while planning; several
make the estimate steadier on a few hundred reference items. [derived and measured here]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import ConfigError
from hotfill.scoring.calibration import Calibrated, Calibration, Line, Scores, check_reference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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

    def prepare(self, old_reference: Scores, new_reference: Scores) -> Calibrated:
        """Measure both backgrounds of each query, (q, r) with r >= 20."""
        check_reference(old_reference, new_reference, least=MIN_REFERENCE)
        old_middle, old_rise = _background(old_reference, self.quantiles)
        new_middle, new_rise = _background(new_reference, self.quantiles)
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
    found = _quantiles(scores, np.array([0.5, *quantiles]))
    rise = np.sqrt(np.mean(np.square(found[1:] - found[0]), axis=0))
    # A query that scores all references alike has no background to stand out from.
    least = 1e-9 + 1e-6 * np.abs(found[0])
    return found[0], np.maximum(rise, least)


def _quantiles(scores: Scores, quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantiles of each row, (h, q), between neighbours as `numpy.quantile` has them.

    For a row of a few hundred, sorting it whole is several times faster than that function.
    """
    ordered = np.sort(scores, axis=1).astype(np.float64)
    places = quantiles * (scores.shape[1] - 1)
    below = places.astype(np.int64)
    above = np.minimum(below + 1, scores.shape[1] - 1)
    low, high = ordered[:, below], ordered[:, above]
    return np.asarray((low + (high - low) * (places - below)).T)
