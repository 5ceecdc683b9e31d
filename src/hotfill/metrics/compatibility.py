"""How well a new model's queries work on galleries of older models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import InputError, ShapeError


def update_gain(*, new_to_old: float, old: float, reference: float) -> float:
    """How much of the possible improvement the new model already gives on the old gallery.

    (M(n,o) - M(o,o)) / (M(*,*) - M(o,o)), BCT's equation 9 as quoted by a re-implementation.
    reference: M(*,*), an unconstrained model of the new architecture and data. 0 = nothing gained,
    1 = as good as a full backfill, negative = not compatible. NaN where the reference is not
    better than the old system: there is nothing to gain, and a negative denominator would call
    the worst model the best.
    """
    return (new_to_old - old) / (reference - old) if reference > old else math.nan


@dataclass(frozen=True, slots=True)
class AdvBCTScores:
    """AdvBCT's three summary figures over several test sets, each in per cent.

    p_up: 50 = the new model lost nothing to the constraint. p_comp: 50 = new-to-old only equals
    old-to-old. p_1: harmonic mean per test set, then averaged. p_comp and p_1 are NaN where they
    are undefined on any test set; undefined then says on which, and why. It is None otherwise.
    """

    p_up: float
    p_comp: float
    p_1: float
    undefined: str | None = None


def advbct_scores(*, new: Any, new_to_old: Any, old: Any, reference: Any) -> AdvBCTScores:
    """Compute P_up, P_comp and P_1 of AdvBCT (CVPR 2023).

    new: M(n,n) per test set, (t,). new_to_old: M(n,o). old: M(o,o). reference: M(*,*), the
    unconstrained model, > 0. A number stands for one test set. The definitions were recovered by
    fitting the published table, which they reproduce to 0.01 (marked "derived"):
    P_up averages sigma((M(n,n) - M(*,*)) / M(*,*)); P_comp averages sigma(update gain).
    Both saturate: a total failure still scores 3 to 16. Where M(*,*) <= M(o,o) on a test set,
    P_comp and P_1 are NaN with a reason (`AdvBCTScores.undefined`): a better cross figure would
    score lower. Raises ShapeError, InputError for a reference that is not above 0.
    """
    rows = [np.atleast_1d(np.asarray(row, dtype=np.float64)) for row in (new, new_to_old, old)]
    paragon = np.atleast_1d(np.asarray(reference, dtype=np.float64))
    if any(row.shape != paragon.shape or row.ndim != 1 for row in rows):
        raise ShapeError("AdvBCT scores: expected four rows with one value per test set")
    own, cross, before = rows
    if np.any(paragon <= 0):
        raise InputError(
            "AdvBCT scores: expected a reference M(*,*) above 0 on every test set, got "
            f"{paragon.min():g}; measure the unconstrained model on its own gallery"
        )
    up = _sigmoid((own - paragon) / paragon)
    nothing_to_gain = np.flatnonzero(paragon <= before)
    if len(nothing_to_gain):
        first = nothing_to_gain[0]
        reason = (
            f"M(*,*) is not above M(o,o) on {len(nothing_to_gain)} of {len(paragon)} test sets, "
            f"first on number {first}: {paragon[first]:.4f} against {before[first]:.4f}"
        )
        return AdvBCTScores(100 * float(up.mean()), math.nan, math.nan, reason)
    comp = _sigmoid((cross - before) / (paragon - before))
    harmonic = 2 * up * comp / (up + comp)
    return AdvBCTScores(
        100 * float(up.mean()), 100 * float(comp.mean()), 100 * float(harmonic.mean())
    )


def average_compatibility(matrix: Any, *, ties: Literal["failure", "success"] = "failure") -> float:
    """AC: share of pairs (i > j) where queries of model i beat model j on j's own gallery.

    matrix: (T, T), [i, j] = metric of queries by model i on the gallery of model j, models oldest
    first; entries above the diagonal are not read. ties: the criterion is strict, and iamcl2r
    counts a tie as failure; CoReS and CL2R count it as success.
    """
    table = _sequence(matrix)
    later, earlier = np.tril_indices(len(table), k=-1)
    cross, own = table[later, earlier], table[earlier, earlier]
    return float(np.mean(cross >= own if ties == "success" else cross > own))


def average_metric(matrix: Any) -> float:
    """AM: mean of the lower triangle with the diagonal."""
    table = _sequence(matrix)
    return float(table[np.tril_indices(len(table))].mean())


def backward_compatibility(matrix: Any) -> float:
    """BC: mean over i < T of C[T, i] - C[i, i]; the last model's queries on every older gallery."""
    table = _sequence(matrix)
    return float(np.mean(table[-1, :-1] - np.diag(table)[:-1]))


def forward_compatibility(matrix: Any) -> float:
    """FC: mean over i >= 2 of C[i, i-1] - C[i, i]; each model's queries one gallery behind."""
    table = _sequence(matrix)
    return float(np.mean(np.diag(table, k=-1) - np.diag(table)[1:]))


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1.0 + np.tanh(values / 2)))  # never overflows


def _sequence(matrix: Any) -> NDArray[np.float64]:
    table = np.asarray(matrix, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 2:
        raise ShapeError(f"compatibility matrix: expected (T, T) with T >= 2, got {table.shape}")
    if not np.all(np.isfinite(table[np.tril_indices(len(table))])):
        raise InputError("compatibility matrix: the lower triangle must be finite")
    return table
