"""What a rehearsal found: frozen values, and how they look as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from hotfill.rehearsal.backfill_evaluation import Quality
    from hotfill.rehearsal.thresholds import CarriedThreshold

Truth: TypeAlias = Literal["labels", "judgements", "new model's top 10"]
"""What counted as relevant."""


@dataclass(frozen=True, slots=True)
class Point:
    """One strategy at one share of the gallery done. flips: against the share before."""

    share: float
    quality: Quality
    flips: float

    def to_dict(self) -> dict[str, float]:
        """Return plain values."""
        return {"share": self.share, **self.quality.to_dict(), "flips": self.flips}


@dataclass(frozen=True, slots=True)
class MeasuredCurve:
    """The backfill curve of one strategy in one order. auc, gain, floor, dips are those of map.

    gain: None where old and new are equally good. floor: lowest map - old. dips: steps that fall.
    vectors_rewritten: before backfilling begins. query_encodings: models per query meanwhile.
    """

    strategy: str
    transform: str
    calibration: str
    order: str
    labels_used: bool
    points: tuple[Point, ...]
    auc: float
    gain: float | None
    floor: float
    dips: int
    vectors_rewritten: int
    query_encodings: int
    fit_seconds: float

    @property
    def name(self) -> str:
        """Strategy and how it is done: "merge (bridge, tail)", "naive_merge"."""
        parts = [part for part in (self.transform, self.calibration) if part != "none"]
        return f"{self.strategy} ({', '.join(parts)})" if parts else self.strategy

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "strategy": self.strategy,
            "transform": self.transform,
            "calibration": self.calibration,
            "order": self.order,
            "labels_used": self.labels_used,
            "points": [point.to_dict() for point in self.points],
            "auc": self.auc,
            "gain": self.gain,
            "floor": self.floor,
            "dips": self.dips,
            "vectors_rewritten": self.vectors_rewritten,
            "query_encodings": self.query_encodings,
            "fit_seconds": self.fit_seconds,
        }


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Which way to go, and whether to go at all.

    expected_gain: the gain measured for it on what the recommendation was allowed to see; None
        where there is nothing to gain. why: one or two sentences. labels_used: whether the
        recommendation looked at labels or judgements.
    """

    strategy: str
    transform: str
    calibration: str
    order: str
    expected_gain: float | None
    worth_it: bool
    why: str
    labels_used: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "strategy": self.strategy,
            "transform": self.transform,
            "calibration": self.calibration,
            "order": self.order,
            "expected_gain": self.expected_gain,
            "worth_it": self.worth_it,
            "why": self.why,
            "labels_used": self.labels_used,
        }


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Everything a rehearsal measured.

    old, new: the two systems before and after. truth: what counted as relevant. items: gallery
    items measured. queries: judged ones; skipped: those without a relevant item; queries_given: how
    many there were to draw from, 0 where items became queries. fit_pairs: items used for fitting,
    in neither. seconds: of the whole rehearsal. threshold: what becomes of a limit on the score.
    """

    old: Quality
    new: Quality
    curves: tuple[MeasuredCurve, ...]
    recommendation: Recommendation
    truth: Truth
    items: int
    queries: int
    skipped: int
    queries_given: int
    fit_pairs: int
    old_dimension: int
    new_dimension: int
    seed: int
    seconds: float
    threshold: CarriedThreshold | None = None

    def recommended_curve(self) -> MeasuredCurve:
        """The curve of the recommended strategy, transform, calibration and order."""
        wanted = self.recommendation
        return next(
            curve
            for curve in self.curves
            if (curve.strategy, curve.transform, curve.calibration, curve.order)
            == (wanted.strategy, wanted.transform, wanted.calibration, wanted.order)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "old": self.old.to_dict(),
            "new": self.new.to_dict(),
            "curves": [curve.to_dict() for curve in self.curves],
            "recommendation": self.recommendation.to_dict(),
            "truth": self.truth,
            "items": self.items,
            "queries": self.queries,
            "skipped_queries": self.skipped,
            "queries_given": self.queries_given,
            "fit_pairs": self.fit_pairs,
            "fit_pairs_in_gallery": False,
            "old_dimension": self.old_dimension,
            "new_dimension": self.new_dimension,
            "seed": self.seed,
            "seconds": self.seconds,
            "threshold": None if self.threshold is None else self.threshold.to_dict(),
        }

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)
