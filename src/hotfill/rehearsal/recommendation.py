"""Which way to go: decided from measured curves and, without labels, from the models' signs."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hotfill.metrics.backfill_curve import ARITHMETIC
from hotfill.rehearsal.results import Recommendation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.rehearsal.backfill_evaluation import PerQuery
    from hotfill.rehearsal.results import MeasuredCurve


BASELINE = "naive_merge"  # measured for comparison, never recommended

CLOSE = 0.02  # of the way from old to new: curves this near the best are equally good
CONFIDENCE = 1.645  # standard errors of a one-sided test at 95 %


def recommend(
    curves: Sequence[MeasuredCurve],
    *,
    old: PerQuery,
    new: PerQuery,
    signs: ModelSigns,
    labels_used: bool,
) -> Recommendation:
    """Choose among measured curves; baselines are left out where there is anything else.

    old, new: what the two systems reached on the truth that the curves were measured by.
    labels_used: whether that truth were labels or judgements. Only then does the comparison of old
    and new say which is better; without, the signs have to.
    """
    candidates = [curve for curve in curves if curve.strategy != BASELINE] or list(curves)
    improvement = new.mean.map - old.mean.map
    slack = CLOSE * abs(improvement)
    choose = _best_by_labels if labels_used else _best_without_labels
    chosen = choose(candidates, slack)
    worth_it, reason = _judged(old, new) if labels_used else _guessed(signs)
    return Recommendation(
        strategy=chosen.strategy,
        transform=chosen.transform,
        queries=chosen.queries,
        calibration=chosen.calibration,
        order=chosen.order,
        expected_gain=chosen.gain if improvement > 0 else None,
        worth_it=worth_it,
        why=f"{reason} {_described(chosen, improvement, worth_it, labels_used)}",
        labels_used=labels_used,
    )


def _best_by_labels(curves: Sequence[MeasuredCurve], slack: float) -> MeasuredCurve:
    """Never below the old system if possible, then the larger area; of equals the cheapest."""
    safe = [curve for curve in curves if curve.floor >= -slack] or list(curves)
    best = max(curve.auc for curve in safe)
    good = [curve for curve in safe if curve.auc >= best - slack]
    return min(good, key=lambda curve: (*_cost(curve), -curve.auc))


def _best_without_labels(curves: Sequence[MeasuredCurve], slack: float) -> MeasuredCurve:
    """Choose where the new model's own first ten were the truth.

    By that truth every moved item is an improvement, so areas say little. What counts is the start,
    where nothing has moved: how well old vectors alone answer as the new model would. A curve that
    falls on the way although everything favours a rise is out, and so is one that another of no
    greater cost lies above. Of ways that start alike the cheapest wins, and an informed order
    before the random one. [on the pairs of `benchmarks/mixed_quality` this named the best or nearly
    the best way by labels]
    """

    def start(curve: MeasuredCurve) -> float:
        return curve.points[0].quality.map

    def falls(curve: MeasuredCurve) -> bool:
        steps = zip(curve.points, curve.points[1:], strict=False)
        return any(later.quality.map < earlier.quality.map - slack for earlier, later in steps)

    def beaten(curve: MeasuredCurve) -> bool:
        return any(_cost(other) <= _cost(curve) and _above(other, curve, slack) for other in curves)

    safe = [curve for curve in curves if not falls(curve) and not beaten(curve)] or list(curves)
    best = max(start(curve) for curve in safe)
    good = [curve for curve in safe if start(curve) >= best - slack]
    return min(
        good,
        key=lambda curve: (
            *_cost(curve),
            -start(curve),
            curve.order == "random",
            -curve.auc,
        ),
    )


def _cost(curve: MeasuredCurve) -> tuple[int, int, int]:
    """What every query pays comes before what is paid once.

    Two sides are searched and their hits read and mapped (merge); one is searched deeper and put on
    one scale (calibrated prefill); one is searched.
    """
    search = 2 if curve.strategy == "merge" else int(curve.calibration != "none")
    return curve.query_encodings, search, curve.vectors_rewritten


def _above(one: MeasuredCurve, other: MeasuredCurve, slack: float) -> bool:
    """Tell whether a curve starts clearly above another and never lies below it."""
    ahead = [
        upper.quality.map - lower.quality.map
        for upper, lower in zip(one.points, other.points, strict=True)
    ]
    return ahead[0] > slack and min(ahead) >= 0


def _judged(old: PerQuery, new: PerQuery) -> tuple[bool, str]:
    """Compare by a truth that neither model made."""
    differences = new.average_precision - old.average_precision
    mean = float(differences.mean())
    error = float(differences.std() / sqrt(len(differences)))
    figures = f"map {old.mean.map:.3f} old, {new.mean.map:.3f} new"
    if mean <= 0:
        return False, f"Not worth it: the new model is not better here ({figures})."
    if mean <= CONFIDENCE * error:
        return False, (
            f"Not worth it: the new model is not measurably better ({figures}, a difference of "
            f"{mean:.3f} with a standard error of {error:.3f} over {len(differences)} queries)."
        )
    return True, f"Worth it: the new model is better ({figures})."


def _guessed(signs: ModelSigns) -> tuple[bool, str]:
    """Say what can be said without labels."""
    if signs.same:
        return False, (
            f"Not worth it: both models name the same neighbours ({signs.agreement:.1%} agree), so "
            "an upgrade would change nothing."
        )
    coherence = (
        f"neighbourhoods hang together {signs.new_coherence:.2f} in the new space, "
        f"{signs.old_coherence:.2f} in the old one"
    )
    if signs.probably_worse:
        return False, (
            f"Not worth it, as far as can be told without labels: the new model looks worse "
            f"({coherence}). Check with labels before deciding."
        )
    return True, (
        f"Without labels nothing speaks against the new model ({coherence}), but nothing can prove "
        "that it is better either: check with labels or judgements."
    )


def _described(curve: MeasuredCurve, improvement: float, worth_it: bool, labels_used: bool) -> str:
    """Name the way, its gain and its cost in words."""
    parts = []
    if curve.gain is not None and improvement > 0:
        by = "" if labels_used else " where the new model's first ten are relevant"
        parts.append(f"gain {curve.gain:.2f}{by}")
    below = curve.floor < -ARITHMETIC
    parts.append(f"floor {curve.floor:+.3f}" if below else "never below the old model")
    if curve.vectors_rewritten:
        parts.append(f"{curve.vectors_rewritten} vectors rewritten first")
    if curve.strategy == "merge":
        parts.append("each query searches two sides while the gallery is mixed")
    if curve.query_encodings > 1:
        parts.append("each query embedded by both models while the gallery is mixed")
    lead = "Best way" if worth_it else "If it must be done, the best way"
    return f"{lead}: {curve.name}, {curve.order} order ({', '.join(parts)})."


# Signs, without any label, of whether a new model is better than the old one ---------------------
#
# No measure without labels can prove this; taking the new model's own neighbours for the truth
# makes it look best by construction. What can be seen is whether the two models differ at all,
# whether the new one's neighbourhoods hang together as well as the old one's, and whether it knows
# something that the old one does not. [own proposal; on the pairs of `benchmarks/mixed_quality`
# coherence named the better model where the difference was above a twentieth.]


NEIGHBOURS = 10
SAMPLE = 2500  # items; the matrices of similarities are square in this
SAME = 0.99  # of the neighbours shared: the models answer alike
LESS_COHERENT = 0.95  # of the old model's coherence: below, the new one is probably worse


@dataclass(frozen=True, slots=True)
class ModelSigns:
    """What two models look like without labels.

    agreement: share of the ten nearest neighbours that both models name, 0 to 1.
    old_coherence, new_coherence: share of an item's neighbourhood that its neighbours' own
        neighbourhoods hold too, 0 to 1; noise lowers it.
    """

    agreement: float
    old_coherence: float
    new_coherence: float

    @property
    def same(self) -> bool:
        """Whether both models answer alike, so that an upgrade changes nothing."""
        return self.agreement >= SAME

    @property
    def probably_worse(self) -> bool:
        """Whether the new model's neighbourhoods hang together clearly less."""
        return self.new_coherence < LESS_COHERENT * self.old_coherence


def model_signs(old: NDArray[np.float32], new: NDArray[np.float32], *, seed: int) -> ModelSigns:
    """Look at a sample of items. old, new: (n, dimension), rows of unit length, n >= 2."""
    rows = np.random.default_rng(seed).permutation(len(old))[:SAMPLE]
    old_near, new_near = _neighbourhoods(old[rows]), _neighbourhoods(new[rows])
    size = old_near.sum(axis=1).astype(np.float64)
    shared = (old_near & new_near).sum(axis=1) - 1  # without the item itself
    return ModelSigns(
        float(np.mean(shared / (size - 1))), _coherence(old_near), _coherence(new_near)
    )


def _neighbourhoods(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mark each item and its nearest: bool (n, n)."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, np.inf)
    near = np.zeros(scores.shape, dtype=np.bool_)
    size = min(NEIGHBOURS + 1, len(vectors))
    nearest = np.argpartition(-scores, size - 1, axis=1)[:, :size]
    np.put_along_axis(near, nearest, True, axis=1)
    return near


def _coherence(near: NDArray[np.bool_]) -> float:
    """Mean overlap of an item's neighbourhood with those of its neighbours."""
    size = int(near[0].sum())
    links = near.astype(np.float32)
    shared = (links @ links.T)[near].sum() - near.sum()  # an item overlaps itself wholly
    return float(shared / (near.sum() - len(near)) / size) if size > 1 else 1.0
