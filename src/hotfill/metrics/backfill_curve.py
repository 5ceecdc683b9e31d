"""The backfill curve: quality against the share of the gallery that is done.

Conventions of section 1 of the method specification (SEO, FastFill, lambda-orthogonality).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import InputError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Differences below this are arithmetic: float32 scores that are rescaled can swap near-equal items.
ARITHMETIC = 1e-6


@dataclass(frozen=True, slots=True)
class BackfillCurve:
    """A metric at K + 1 shares, with the two systems it lies between.

    shares: ascending, from 0.0 to 1.0, at least two. values: the metric at each share.
    old, new: the metric of the old system (old queries, old gallery) and of the new one.
    flips: at each share, the share of queries that the step before answered rightly and this one
        wrongly (0.0 at the first); empty where not measured.
    eps: a fall of at most this much from one share to the next is not a dip; >= 0.
    """

    shares: tuple[float, ...]
    values: tuple[float, ...]
    old: float
    new: float
    flips: tuple[float, ...] = field(default=())
    eps: float = ARITHMETIC

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.values) or len(self.shares) < 2:
            raise ShapeError(
                "backfill curve: expected as many values as shares, at least two; "
                f"got {len(self.values)} values at {len(self.shares)} shares"
            )
        if self.flips and len(self.flips) != len(self.shares):
            raise ShapeError(
                f"backfill curve: expected {len(self.shares)} flips or none, got {len(self.flips)}"
            )
        steps = np.diff(self.shares)
        if self.shares[0] != 0.0 or self.shares[-1] != 1.0 or not np.all(steps > 0):
            raise InputError(
                f"backfill curve: shares must ascend from 0.0 to 1.0, got {self.shares}"
            )
        if not all(map(isfinite, (*self.values, *self.flips, self.old, self.new, self.eps))):
            raise InputError("backfill curve: values must be finite")
        if self.eps < 0:
            raise InputError(f"backfill curve: eps must be >= 0, got {self.eps}")

    @property
    def auc(self) -> float:
        """AUC_t, the area by trapezoids."""
        return float(np.trapezoid(self.values, self.shares))

    @property
    def auc_m(self) -> float:
        """AUC_m, the plain mean of the points, as the FastFill evaluator reports."""
        return float(np.mean(self.values))

    @property
    def gain(self) -> float | None:
        """(AUC_t - old) / (new - old): 0.5 for a straight line, above when benefit comes early.

        None where old and new are equally good, so that there is nothing to gain. Where the new
        system is worse, the sign of the divisor turns and the figure must not be read as a gain.
        """
        improvement = self.new - self.old
        if abs(improvement) <= ARITHMETIC:
            return None
        return (self.auc - self.old) / improvement

    @property
    def gain_to_end(self) -> float | None:
        """Gain against the curve's own last value instead of the new system.

        Where an upgrade ends above the new model (a finish), `gain` tells that the end is better,
        and this one how early its benefit comes. None where the end is as good as the old system.
        """
        improvement = self.values[-1] - self.old
        if abs(improvement) <= ARITHMETIC:
            return None
        return (self.auc - self.old) / improvement

    @property
    def floor(self) -> float:
        """Lowest value - old: below zero where the upgrade made search worse than not upgrading.

        For merge strategies, which start at the old system, this equals `below_start`.
        """
        return min(self.values) - self.old

    @property
    def below_start(self) -> float:
        """Lowest value - first value, never above zero; the specification's no-regret check 2."""
        return min(self.values) - self.values[0]

    @property
    def dips(self) -> int:
        """Steps that fall by more than eps; the specification's check 1."""
        return sum(
            bool(later < earlier - self.eps)
            for earlier, later in zip(self.values, self.values[1:], strict=False)
        )

    @property
    def harm(self) -> int:
        """Points below both an earlier point and the new system, by more than eps.

        A curve that begins above the new system and ends at it has to fall; that is no harm, it is
        `overshoot`.
        """
        best = np.maximum.accumulate(self.values)[:-1]
        return int(np.sum(np.array(self.values[1:]) < np.minimum(best, self.new) - self.eps))

    @property
    def overshoot(self) -> float:
        """How far the highest value lies above the new system; 0.0 where none does."""
        return max(0.0, max(self.values) - self.new)

    @property
    def end(self) -> float:
        """Last value - new; above zero is possible where the new side is learned."""
        return self.values[-1] - self.new


def harm_beyond_noise(points: Sequence[Any], new: Any, *, errors: float = 2.0) -> int:
    """Count the points of `BackfillCurve.harm` that chance does not explain.

    points: at each share one value per query, (q,). new: those of the new system, (q,).
    errors: how many standard errors of the mean paired difference are noise. A point counts where
        it lies further than that below the new system and below the best earlier point.
    Raises ShapeError where the numbers of queries differ or there are fewer than 2.
    """
    rows = [np.asarray(row, dtype=np.float64) for row in (new, *points)]
    if len(rows) < 2 or rows[0].size < 2 or any(row.shape != rows[0].shape for row in rows):
        raise ShapeError("expected values of the same queries, at least 2, at every share")
    end, best, *later = rows
    found = 0
    for point in later:
        found += _is_below(point, end, errors) and _is_below(point, best, errors)
        best = point if point.mean() > best.mean() else best
    return found


def _is_below(point: NDArray[np.float64], other: NDArray[np.float64], errors: float) -> bool:
    falls = other - point
    noise = falls.std(ddof=1) / np.sqrt(len(falls))
    return bool(falls.mean() > errors * noise + ARITHMETIC)
