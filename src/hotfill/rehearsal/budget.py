"""Does a gallery have to be embedded again at all? Quality and cost against the budget.

Measured on the lists that an upgrade serves by default: old vectors imputed into the index of the
new ones (`prefill`), ranked raw or calibrated as its fit chooses, the first ten hits. A budget is
the share of the items that the new model embeds; the rest stays imputed for good. The two ends are
the old model alone and the new model alone.

Two models of one dimension may be compatible without any map; BCT's criterion tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import InputError
from hotfill.formatting import duration
from hotfill.metrics import Difference, negative_flips, paired_difference
from hotfill.rehearsal.backfill_evaluation import Figures, PerQuery, chunks, evaluate_side
from hotfill.rehearsal.sample import cosines

if TYPE_CHECKING:
    from hotfill.metrics import Relevance
    from hotfill.rehearsal.mixed_gallery import Scores
    from hotfill.rehearsal.sample import Sample
    from hotfill.rehearsal.strategies import ImputedGallery

BUDGETS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
K = 10
ENOUGH = 0.95  # of the way from old to new: what is left is seldom worth embedding the rest
BEND = 0.1  # a knee stands at least so far above the straight line between the curve's ends
FLAT = 0.02  # of the way: a curve that rises less has no knee but its beginning

Lists = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cost:
    """What embedding a gallery costs. Raises InputError for numbers that cannot be.

    items: in the whole gallery, >= 1. seconds_per_item, price_per_item: of the new model, >= 0;
    None where unknown.
    """

    items: int
    seconds_per_item: float | None = None
    price_per_item: float | None = None

    def __post_init__(self) -> None:
        if self.items < 1:
            raise InputError(f"a gallery has at least one item, got {self.items}")
        for name in ("seconds_per_item", "price_per_item"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < np.inf:
                raise InputError(f"{name}: expected a finite number >= 0, got {value}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `from_dict` takes them."""
        return {
            "items": self.items,
            "seconds_per_item": self.seconds_per_item,
            "price_per_item": self.price_per_item,
        }

    def of(self, budget: float) -> tuple[int, float | None, float | None]:
        """Return items, hours and price of a budget, a share of the gallery from 0 to 1."""
        items = round(budget * self.items)
        seconds, price = self.seconds_per_item, self.price_per_item
        return (
            items,
            None if seconds is None else items * seconds / 3600,
            None if price is None else items * price,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """Figures of served lists, per judged query.

    precision: average precision of the first ten, float64 (j,), the divisor being ten or the number
    of relevant items where there are fewer. right: bool (j,), whether the first hit is relevant.
    """

    precision: NDArray[np.float64]
    right: NDArray[np.bool_]

    def to_dict(self) -> dict[str, float]:
        """Return the means under the names used in reports."""
        return {f"map@{K}": float(self.precision.mean()), "hit_rate@1": float(self.right.mean())}


@dataclass(frozen=True, slots=True)
class BudgetPoint:
    """One budget. items, hours, price: of the gallery; None where the cost is unknown.

    way: share of the way from the old to the new model, by map@10; None where there is none.
    above_old: map@10 minus the old model's. flips: share of queries whose first hit was right by
    the old model and is wrong now.
    """

    budget: float
    items: int | None
    hours: float | None
    price: float | None
    quality: Mapping[str, float]
    way: float | None
    above_old: Difference
    flips: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "budget": self.budget,
            "items": self.items,
            "hours": self.hours,
            "price": self.price,
            **self.quality,
            "way": self.way,
            "above_old": self.above_old.to_dict(),
            "flips": self.flips,
        }


@dataclass(frozen=True, slots=True)
class BudgetCurve:
    """One order of embedding, at every budget, from nothing to everything."""

    order: str
    points: tuple[BudgetPoint, ...]

    def at(self, budget: float) -> BudgetPoint:
        """Find one point."""
        return next(point for point in self.points if point.budget == budget)


@dataclass(frozen=True, slots=True)
class Criterion:
    """BCT's criterion for models of one dimension: new queries over the old gallery.

    new_over_old, old: over full rankings. difference: of map. flips: as in `BudgetPoint`.
    """

    new_over_old: Figures
    old: Figures
    difference: Difference
    flips: float

    @property
    def met(self) -> bool | None:
        """Whether new over old >= old over old; None where the interval holds both answers."""
        if self.difference.low >= 0:
            return True
        return False if self.difference.high < 0 else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "new_over_old": self.new_over_old.to_dict(),
            "old_over_old": self.old.to_dict(),
            "difference": self.difference.to_dict(),
            "met": self.met,
            "flips": self.flips,
        }


@dataclass(frozen=True, slots=True)
class BudgetAnswer:
    """The answer. Figures are of the first ten hits served.

    transform, ranking: how old vectors are imputed, and ranked among new ones. old, new: the ends.
    curves: by order. order: the one advised. enough: the smallest budget that gives `ENOUGH` of the
    way. knee: where the curve bends; None where it does not. advice: two sentences at most.
    """

    transform: str
    ranking: str
    old: Mapping[str, float]
    new: Mapping[str, float]
    curves: tuple[BudgetCurve, ...]
    order: str
    enough: float | None
    knee: float | None
    advice: str

    @property
    def advised(self) -> BudgetCurve:
        """The curve of the advised order."""
        return next(curve for curve in self.curves if curve.order == self.order)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "transform": self.transform,
            "ranking": self.ranking,
            "old": dict(self.old),
            "new": dict(self.new),
            "curves": {
                curve.order: [point.to_dict() for point in curve.points] for curve in self.curves
            },
            "order": self.order,
            "enough": self.enough,
            "knee": self.knee,
            "advice": self.advice,
        }


def measure_budgets(
    sample: Sample,
    gallery: ImputedGallery,
    relevance: Relevance,
    orders: Mapping[str, NDArray[np.int64]],
    cost: Cost | None = None,
) -> BudgetAnswer:
    """Serve every query from galleries of each budget and order.

    relevance: of the sample's first queries. orders: permutations of its gallery, by name.
    Memory holds the scores of one chunk of queries.
    """
    old: list[Served] = []
    mixed: dict[str, list[list[Served]]] = {name: [[] for _ in BUDGETS] for name in orders}
    ranking = gallery.one.ranking
    for rows in chunks(len(relevance), relevance.gallery):
        wanted = relevant_items(relevance, rows)
        queries = sample.new.queries.read(rows)
        own, imputed = cosines(queries, sample.new.gallery), gallery.scores(queries)
        line = gallery.one.scale.prepare(queries).lines[gallery.one.origin]
        before = cosines(sample.old.queries.read(rows), sample.old.gallery)
        old.append(served(best(before, K), wanted))
        for name, order in orders.items():
            for found, budget in zip(mixed[name], BUDGETS, strict=True):
                moved = np.zeros(len(order), dtype=np.bool_)
                moved[order[: round(budget * len(order))]] = True
                scores = np.where(moved, own, imputed)
                if ranking == "raw":
                    found.append(served(best(scores, K), wanted))
                    continue
                deep = best(scores, K * gallery.one.overfetch)
                near = np.take_along_axis(scores, deep, axis=1)
                for row, items in enumerate(deep):
                    near[row] = np.where(moved[items], near[row], line(row, near[row]))
                first = np.take_along_axis(deep, best(near, K), axis=1)
                found.append(served(first, wanted))
    start = _joined(old)
    whole = {name: [_joined(parts) for parts in some] for name, some in mixed.items()}
    end = next(iter(whole.values()))[-1]
    curves = tuple(_curve(name, points, start, end, cost) for name, points in whole.items())
    chosen = max(curves, key=_area)
    return BudgetAnswer(
        transform=gallery.name,
        ranking=ranking,
        old=start.to_dict(),
        new=end.to_dict(),
        curves=curves,
        order=chosen.order,
        enough=_enough(chosen),
        knee=_knee(chosen),
        advice=_advice(chosen),
    )


def bct_criterion(sample: Sample, relevance: Relevance, old: PerQuery) -> Criterion:
    """Search the old gallery with new queries, both of one dimension. old: the old model alone."""
    crossed = evaluate_side(
        lambda rows: cosines(sample.new.queries.read(rows), sample.old.gallery), relevance
    )
    return Criterion(
        crossed.mean,
        old.mean,
        paired_difference(crossed.average_precision, old.average_precision),
        float(negative_flips(old.right, crossed.right).mean()),
    )


def relevant_items(relevance: Relevance, rows: slice) -> NDArray[np.bool_]:
    """Mark what is relevant to some queries: bool (q, n)."""
    asked = range(len(relevance))[rows]
    wanted = np.zeros((len(asked), relevance.gallery), dtype=np.bool_)
    for row, query in enumerate(asked):
        wanted[row, relevance.of(query)[0]] = True
    return wanted


def best(scores: Scores, k: int) -> Lists:
    """Find the k best columns of each row, best first, equal ones by their column: (q, <= k)."""
    count = min(k, scores.shape[1])
    columns = np.sort(np.argpartition(-scores, count - 1, axis=1)[:, :count], axis=1)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def served(lists: Lists, wanted: NDArray[np.bool_]) -> Served:
    """Judge lists (q, k) of items, best first; queries without a relevant item are left out."""
    judged = wanted.any(axis=1)
    hits = np.take_along_axis(wanted[judged], lists[judged], axis=1)
    precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    most = np.minimum(wanted[judged].sum(axis=1), K)
    return Served((precision * hits).sum(axis=1) / most, hits[:, 0])


def _joined(parts: Sequence[Served]) -> Served:
    return Served(
        np.concatenate([part.precision for part in parts]),
        np.concatenate([part.right for part in parts]),
    )


def _curve(
    order: str, points: Sequence[Served], old: Served, new: Served, cost: Cost | None
) -> BudgetCurve:
    start, end = float(old.precision.mean()), float(new.precision.mean())
    made = []
    for budget, point in zip(BUDGETS, points, strict=True):
        items, hours, price = (None, None, None) if cost is None else cost.of(budget)
        now = float(point.precision.mean())
        made.append(
            BudgetPoint(
                budget=budget,
                items=items,
                hours=hours,
                price=price,
                quality=point.to_dict(),
                way=(now - start) / (end - start) if end > start else None,
                above_old=paired_difference(point.precision, old.precision),
                flips=float(negative_flips(old.right, point.right).mean()),
            )
        )
    return BudgetCurve(order, tuple(made))


def _area(curve: BudgetCurve) -> float:
    values = [point.quality[f"map@{K}"] for point in curve.points]
    return float(np.trapezoid(values, BUDGETS))


def _enough(curve: BudgetCurve) -> float | None:
    """Find the smallest budget that gives enough of the way; None where there is no way."""
    return next(
        (point.budget for point in curve.points if point.way is not None and point.way >= ENOUGH),
        None,
    )


def _knee(curve: BudgetCurve) -> float | None:
    """Find the budget that lies highest above the straight line between the curve's ends.

    [Satopaa et al. 2011, "Finding a Kneedle in a Haystack"; here without its smoothing]
    """
    ways = [point.way for point in curve.points]
    if ways[0] is None:
        return None
    values = np.array(ways, dtype=np.float64)
    rise = values[-1] - values[0]
    if rise <= FLAT:
        return 0.0
    above = (values - values[0]) / rise - np.array(BUDGETS)
    highest = int(np.argmax(above))
    return BUDGETS[highest] if above[highest] >= BEND else None


def _advice(curve: BudgetCurve) -> str:
    """Answer the question in words."""
    first, last = curve.points[0], curve.points[-1]
    name = f"map@{K}"
    start = first.quality[name] - first.above_old.value
    ends = f"{name} {start:.3f} by the old model, {last.quality[name]:.3f} by the new one"
    if last.way is None:
        return f"Nothing is gained by embedding: the new model finds no more here ({ends})."
    enough = _enough(curve)
    assert enough is not None  # the last point is the whole way
    below = (
        f" With nothing embedded, search would be worse than today (by {-first.above_old.value:.3f}"
        f" of {name}, 95 % interval {-first.above_old.high:.3f} to {-first.above_old.low:.3f})."
        if first.above_old.high < 0
        else ""
    )
    if enough == 0:
        return (
            f"No: with nothing embedded again, imputed vectors give {_share(first.way)} of the way "
            f'from the old model to the new one ({ends}): `backfill = "none"` under [upgrade].'
        )
    if enough < 1:
        point = curve.at(enough)
        return (
            f"Not all of it: {enough:.0%} of the items, in {curve.order} order, give "
            f"{_share(point.way)} of the way{cost_of(point)}; nothing embedded gives "
            f'{_share(first.way)} ({ends}): `backfill = "budget"` and `budget_share = {enough:g}` '
            f"under [upgrade].{below}"
        )
    knee = _knee(curve)
    bend = "" if knee in (None, 0.0) else f"; the knee is at {knee:.0%}"
    half = curve.at(0.5)
    return (
        f"Yes: half of the items give {_share(half.way)} of the way, nothing embedded "
        f"{_share(first.way)}{bend} ({ends}).{below}"
    )


def cost_of(point: BudgetPoint) -> str:
    """Say what a point costs, in brackets; nothing where that is unknown."""
    parts = [] if point.items is None else [f"{point.items:,} items"]
    parts += [] if point.hours is None else [duration(3600 * point.hours)]
    parts += [] if point.price is None else [f"a price of {point.price:,.2f}"]
    return f" ({', '.join(parts)})" if parts else ""


def _share(way: float | None) -> str:
    return "-" if way is None else f"{way:.0%}"
