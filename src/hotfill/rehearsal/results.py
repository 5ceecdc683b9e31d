"""What a rehearsal found: frozen values, and how they look as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from hotfill.ranking.one_space import rho_enough
from hotfill.upgrade.plan import TransformName

if TYPE_CHECKING:
    from hotfill.ranking.one_space import FinishName
    from hotfill.rehearsal.backfill_evaluation import Figures
    from hotfill.rehearsal.budget import BudgetAnswer, Criterion
    from hotfill.rehearsal.thresholds import CarriedThreshold

Truth: TypeAlias = Literal["labels", "judgements", "new model's top 10"]
"""What counted as relevant."""

Way: TypeAlias = tuple[str, str, str, str, str]
"""Strategy, transform, queries, calibration and order."""


@dataclass(frozen=True, slots=True)
class Point:
    """One strategy at one share of the gallery done. flips: against the share before."""

    share: float
    quality: Figures
    flips: float

    def to_dict(self) -> dict[str, float]:
        """Return plain values."""
        return {"share": self.share, **self.quality.to_dict(), "flips": self.flips}


@dataclass(frozen=True, slots=True)
class MeasuredCurve:
    """The backfill curve of one strategy in one order. auc, gain, floor, dips are those of map.

    queries: which models embed a query while the gallery is mixed: "new", or "both".
    gain: None where old and new are equally good. floor: lowest map - old. dips: steps that fall.
    vectors_rewritten: before backfilling begins. fit_seconds: of fitting the map.
    """

    strategy: str
    transform: str
    queries: str
    calibration: str
    order: str
    labels_used: bool
    points: tuple[Point, ...]
    auc: float
    gain: float | None
    floor: float
    dips: int
    vectors_rewritten: int
    fit_seconds: float

    @property
    def way(self) -> Way:
        """What tells this curve from the others of a rehearsal."""
        return self.strategy, self.transform, self.queries, self.calibration, self.order

    @property
    def query_encodings(self) -> int:
        """Models that embed each query while the gallery is mixed."""
        return 2 if self.queries == "both" else 1

    @property
    def name(self) -> str:
        """Strategy and how it is done: "merge (bridge, both queries, tail)", "naive_merge"."""
        both = "both queries" if self.queries == "both" else "none"
        parts = [part for part in (self.transform, both, self.calibration) if part != "none"]
        if self.strategy == "naive_merge":
            return self.strategy
        return f"{self.strategy} ({', '.join(parts)})" if parts else self.strategy

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "strategy": self.strategy,
            "transform": self.transform,
            "queries": self.queries,
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
    """Which way to go, and whether to go at all. The first three are named as in a `Plan`.

    expected_gain: the gain measured for it on what the recommendation was allowed to see; None
        where there is nothing to gain. why: one or two sentences. labels_used: whether the
        recommendation looked at labels or judgements. finish: the end, as in a `Plan`.
    """

    strategy: str
    transform: str
    queries: str
    calibration: str
    order: str
    expected_gain: float | None
    worth_it: bool
    why: str
    labels_used: bool
    finish: FinishName = "plain"

    @property
    def way(self) -> Way:
        """The way of the curve that is recommended."""
        return self.strategy, self.transform, self.queries, self.calibration, self.order

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def to_toml(self) -> str | None:
        """Write the section [upgrade] that does it; None for a way that an upgrade does not offer.

        The naive merge, and merging by maps other than the bridges, are measured for comparison.
        """
        lines = ["[upgrade]", f'strategy = "{self.strategy}"']
        if self.strategy in ("merge", "prefill") and self.transform in get_args(TransformName):
            lines.append(f'transform = "{self.transform}"')
            if self.strategy == "prefill":
                ranking = "raw" if self.calibration == "none" else "calibrated"
                lines.append(f'ranking = "{ranking}"')
        elif self.strategy == "prefill":
            lines.append(f'up = "up.safetensors"  # {self.transform}: fit and save it')
        elif self.strategy != "compatible":
            return None
        if self.strategy in ("merge", "prefill") and self.queries == "both":
            lines.append('queries = "both"')
        if self.finish != "plain":
            lines.append(f'finish = "{self.finish}"')
        lines.append(f'order = "{self._order()}"')
        if self.order.startswith("popularity"):
            lines.append('query_log = "returned.txt"  # one item id per line and returned hit')
        return "\n".join(lines)

    def _order(self) -> str:
        """Name the order; compatible models need no map whose uncertainty could count."""
        if self.strategy == "compatible":
            return "popularity" if self.order.startswith("popularity") else "random"
        return self.order


@dataclass(frozen=True, slots=True)
class Ends:
    """Rho, and how good search is when all has moved, at either end.

    rho: see `ranking.one_space`. by_items: whether it is by items, without real queries.
    by_contents: whether its queries are contents of items, embedded as queries are.
    doubts: what it makes doubtful, a sentence each. plain, agreement: by the truth of the curves.
    finish: the end recommended. why: in a sentence.
    """

    rho: float
    by_items: bool
    by_contents: bool
    doubts: tuple[str, ...]
    plain: Figures
    agreement: Figures
    finish: FinishName
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "rho": self.rho,
            "rho_by_items": self.by_items,
            "rho_enough": rho_enough(self.by_items),
            "doubts": list(self.doubts),
            "plain": self.plain.to_dict(),
            "agreement": self.agreement.to_dict(),
            "finish": self.finish,
            "why": self.why,
        }

    def text(self) -> str:
        """Say it to people."""
        asked = "items" if self.by_items else "your queries"
        if self.by_contents:
            asked = "contents of items, asked as queries"
        return " ".join(
            [
                f"By {asked}, the scores of mapped vectors follow the true ones with rho "
                f"{self.rho:.2f}; from {rho_enough(self.by_items):.2f} on, one encoder is enough.",
                *(f"{doubt[0].upper()}{doubt[1:]}." for doubt in self.doubts),
                "Gain is measured against the plain new model (map "
                f"{self.plain.map:.3f}, hit rate {self.plain.hit_rate_at_1:.3f}); the agreement "
                f"end has map {self.agreement.map:.3f}, hit rate "
                f"{self.agreement.hit_rate_at_1:.3f}. {self.why}",
            ]
        )


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Everything a rehearsal measured.

    old, new: the two systems before and after. truth: what counted as relevant. items: gallery
    items measured. queries: judged ones; skipped: those without a relevant item; queries_given: how
    many there were to draw from, 0 where items became queries; queries_from_items: whether those
    are contents of items, embedded as queries are. fit_pairs: items used for fitting, in neither.
    seconds: of the whole rehearsal. threshold: what becomes of a limit on the score.
    budget: how much has to be embedded again; None where nothing was imputed. criterion: BCT's;
    None where compatible was not measured.
    ends: rho and both ends of one index; None where nothing is imputed.
    imputed_items: of the gallery, found by vectors imputed into the old space; none was measured.
    """

    old: Figures
    new: Figures
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
    budget: BudgetAnswer | None = None
    criterion: Criterion | None = None
    ends: Ends | None = None
    imputed_items: int = 0
    queries_from_items: bool = False

    def recommended_curve(self) -> MeasuredCurve:
        """Find the curve of the recommended way."""
        return next(curve for curve in self.curves if curve.way == self.recommendation.way)

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
            "queries_from_items": self.queries_from_items,
            "fit_pairs": self.fit_pairs,
            "fit_pairs_in_gallery": False,
            "old_dimension": self.old_dimension,
            "new_dimension": self.new_dimension,
            "seed": self.seed,
            "seconds": self.seconds,
            "threshold": None if self.threshold is None else self.threshold.to_dict(),
            "budget": None if self.budget is None else self.budget.to_dict(),
            "criterion": None if self.criterion is None else self.criterion.to_dict(),
            "ends": None if self.ends is None else self.ends.to_dict(),
            "imputed_items": self.imputed_items,
        }

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)
