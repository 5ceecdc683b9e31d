"""Rehearse an upgrade on paper: is it worth it, and how? Nothing stored is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import ConfigError, InputError, ShapeError
from hotfill.metrics import Relevance, from_lists, from_qrels, same_label
from hotfill.ranking.one_space import IMPUTED_BY
from hotfill.rehearsal.backfill_evaluation import (
    PerQuery,
    Stages,
    chunks,
    evaluate_backfill,
    evaluate_side,
    evenly,
)
from hotfill.rehearsal.budget import bct_criterion, measure_budgets
from hotfill.rehearsal.ends import measure_ends
from hotfill.rehearsal.maps import MAPS, Maps, fit_transform, pairs_of
from hotfill.rehearsal.orders import ORDERS, permutations, popularity_of
from hotfill.rehearsal.recommendation import model_signs, recommend
from hotfill.rehearsal.results import MeasuredCurve, Point, Rehearsal
from hotfill.rehearsal.sample import (
    EmbeddedBy,
    Judgements,
    Labels,
    ModelSample,
    Sample,
    cosines,
    draw_sample,
)
from hotfill.rehearsal.strategies import (
    QUERIES,
    STRATEGIES,
    TRANSFORMS,
    ImputedGallery,
    check_names,
    ways,
)
from hotfill.rehearsal.thresholds import carry_threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hotfill.rehearsal.backfill_evaluation import Figures
    from hotfill.rehearsal.budget import Cost
    from hotfill.rehearsal.mixed_gallery import MixedGallery
    from hotfill.rehearsal.results import Truth

UNLABELLED_QUERIES = 400  # enough to choose by, where the curves shown are measured by labels
MIN_PAIRS = 100
TOP = 10  # without labels, the new model's exact first ten are relevant


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalSettings:
    """What a rehearsal measures. Strategies, transforms, queries and orders are those of a `Plan`.

    fit: pairs to fit on, at most a third of the items; they are drawn from the items and leave the
        gallery.
    strategies: of merge, prefill, compatible (only measured where both models have one dimension)
        and naive_merge, a baseline.
    transforms: how merge and prefill bring the two models together: names of `MAPS` and of
        `more_maps`. A map is measured as merge where it goes down, as prefill where it goes up.
    queries: of new and both, the models that embed a query while the gallery is mixed; for merge,
        and for prefill where rho may not be enough (`strategies.ways`).
    orders: of random, uncertainty, popularity, popularity_uncertainty.
    points: shares measured, >= 2, evenly from 0 to 1. seed: of all that is random.
    use_labels: whether the recommendation may look at labels or judgements.
    threshold: a limit below which the application drops hits, of the old model's cosine; it is
        carried over to the new model's (`thresholds`).
    """

    fit: int = 2000
    strategies: Sequence[str] = STRATEGIES
    transforms: Sequence[str] = TRANSFORMS
    queries: Sequence[str] = QUERIES
    orders: Sequence[str] = ("random", "uncertainty")
    points: int = 11
    seed: int = 0
    use_labels: bool = False
    threshold: float | None = None

    def check(self, maps: Maps) -> None:
        """Raise ConfigError on an unknown name, InputError on too few points."""
        check_names("strategy", self.strategies, STRATEGIES)
        check_names("transform", self.transforms, list(maps))
        check_names("query encoding", self.queries, QUERIES)
        check_names("order", self.orders, ORDERS)
        evenly(self.points)


def rehearse(
    old: Any,
    new: Any,
    *,
    relevant: Labels | Judgements | Any = None,
    returned: Any = None,
    settings: RehearsalSettings = RehearsalSettings(),  # a frozen value
    more_maps: Maps | None = None,
    cost: Cost | None = None,
    on_measured: Callable[[int, int], None] = lambda done, of: None,
) -> Rehearsal:
    """Measure every way through an upgrade on a sample and recommend one.

    old, new: what the old and the new model made of the same items: (n, d_old), (n, d_new), float16
        or float32, row i of both is the same item; arrays or memory-mapped files, compared by the
        cosine. n >= 300, dimensions >= 2. Or `EmbeddedBy`, with queries of both models as well, of
        which at most 1,000 are drawn. Without queries a tenth of the items (at most 1,000) become
        queries and leave the gallery. A gallery of more than 50,000 items is asked fewer, 200 at
        least.
    relevant: labels (n,), integers or texts: what has the query's label is relevant; with queries,
        `Labels` of items and queries. Or judgements {query: {item: grade}}, both named by their
        row number as text ("17"). By default the new model's exact first ten are relevant.
    returned: (n,) >= 0, how often each item was returned, from a query log, for the orders by
        popularity. Without it the items fitted on stand in for the queries of a log.
    settings: what to measure.
    more_maps: further maps by name, as `hotfill.lab.training.transforms.label_free.LABEL_FREE`.
    cost: of embedding the whole gallery, for the hours and the price of each budget.
    on_measured: called with how many ways are measured, of how many; the budgets count as one.

    Where prefill is measured by a map that an upgrade fits itself, `Rehearsal.budget` tells how
    much has to be embedded again at all; where compatible is, `Rehearsal.criterion` is BCT's.

    Memory is bounded by blocks of items and chunks of queries, whatever n is; mapped vectors are
    kept in a temporary file, 4 n d bytes for each transform.
    Raises ShapeError, VectorError, InputError (too few items, labels without any pair, a threshold
    that nothing reaches), ConfigError (an unknown strategy, transform or order; nothing left to
    measure).
    """
    began = perf_counter()
    maps = {**MAPS, **(more_maps or {})}
    settings.check(maps)
    truth = _truth(relevant)
    by_old, by_new = (
        side if isinstance(side, EmbeddedBy) else EmbeddedBy(gallery=side) for side in (old, new)
    )
    sample = draw_sample(
        by_old,
        by_new,
        fit=settings.fit,
        seed=settings.seed,
        judged=_judged_rows(truth) if isinstance(truth, Mapping) else None,
    )
    if len(sample.fit) < MIN_PAIRS:
        raise InputError(
            f"{len(sample.fit)} pairs to fit on are too few: at least {MIN_PAIRS} are needed, "
            "and 2,000 give a good fit"
        )
    items = len(by_old.gallery)
    popularity = popularity_of(returned, settings.orders, sample, items)
    given = _relevance(sample, truth, items)
    if settings.use_labels and given is None:
        raise InputError("use_labels needs labels or judgements, and none were given")
    shares = evenly(settings.points)
    truth_shown = given or new_models_top(sample)
    shown = _Measurement(sample, truth_shown, shares)
    pairs = pairs_of(sample)
    fitted = cache(lambda name, direction: fit_transform(name, direction, sample, pairs, maps))
    imputed_by = cache(lambda name: ImputedGallery(sample, pairs, name))
    galleries = list(
        ways(
            sample,
            pairs,
            fitted,
            imputed_by,
            strategies=settings.strategies,
            transforms=settings.transforms,
            queries=settings.queries,
            maps=maps,
        )
    )
    if not galleries:
        raise ConfigError(
            f"none of the transforms {', '.join(settings.transforms)} serves the strategies "
            f"{', '.join(settings.strategies)}: maps that go down serve merge, maps that go up "
            "prefill, and compatible needs two models of one dimension"
        )
    orders = permutations(
        sample,
        settings.orders,
        lambda: fitted("kernel_bridge", "down").transform,
        popularity,
        settings.seed,
    )
    seen = shown
    if given is not None and not settings.use_labels:
        seen = _Measurement(sample, new_models_top(sample, UNLABELLED_QUERIES), shares)
    by_truth: dict[_Measurement, list[MeasuredCurve]] = {shown: [], seen: []}
    parts = [(measurement, some) for measurement in by_truth for some in galleries]
    for done, (measurement, some) in enumerate(parts, 1):
        by_truth[measurement].extend(measurement.curves(some, orders))
        on_measured(done, len(parts) + 1)
    curves = by_truth[shown]
    recommendation = recommend(
        by_truth[seen],
        old=seen.old,
        new=seen.new,
        signs=model_signs(sample.old.fit.read(), sample.new.fit.read(), seed=settings.seed),
        labels_used=settings.use_labels,
    )
    ends = None
    if "prefill" in settings.strategies:
        ends = measure_ends(
            sample,
            pairs,
            settings.transforms,
            plain=shown.new,
            relevance=truth_shown,
            recommended=recommendation,
        )
    if ends is not None:
        recommendation = replace(recommendation, finish=ends.finish)
    carried = None
    if settings.threshold is not None:
        *way, name = recommendation.way
        gallery = next(each for each in galleries if [*_way(each)] == way)
        carried = carry_threshold(settings.threshold, sample, gallery, orders[name], shares, given)
    budget = None
    imputing = [name for name in IMPUTED_BY if name in settings.transforms]
    if imputing and "prefill" in settings.strategies:
        budget = measure_budgets(sample, imputed_by(imputing[0]), shown.relevance, orders, cost)
    criterion = None
    if any(each.strategy == "compatible" for each in galleries):
        criterion = bct_criterion(sample, shown.relevance, shown.old)
    return Rehearsal(
        old=shown.old.mean,
        new=shown.new.mean,
        curves=tuple(curves),
        recommendation=recommendation,
        truth=_truth_name(truth),
        items=len(sample.gallery),
        queries=len(shown.old.right),
        skipped=len(sample.queries) - len(shown.old.right),
        queries_given=sample.queries_given,
        queries_from_items=sample.queries_from_items,
        fit_pairs=len(sample.fit),
        old_dimension=sample.old.model.dimension,
        new_dimension=sample.new.model.dimension,
        seed=settings.seed,
        seconds=perf_counter() - began,
        threshold=carried,
        budget=budget,
        criterion=criterion,
        ends=ends,
    )


class _Measurement:
    """One truth: the old and the new system measured by it, and then any strategy."""

    def __init__(self, sample: Sample, relevance: Relevance, shares: tuple[float, ...]) -> None:
        self.relevance = relevance
        self._shares = shares
        self.old = _alone(sample.old, relevance)
        self.new = _alone(sample.new, relevance)

    def curves(
        self, gallery: MixedGallery, orders: Mapping[str, NDArray[np.int64]]
    ) -> Iterator[MeasuredCurve]:
        """Measure one strategy in every order."""
        stages = evaluate_backfill(gallery, self.relevance, orders, self._shares)
        for order, measured in stages.items():
            yield _curve(gallery, order, measured, self.old.mean, self.new.mean)


def _way(gallery: MixedGallery) -> tuple[str, str, str, str]:
    return gallery.strategy, gallery.transform, gallery.queries, gallery.calibration


def _alone(side: ModelSample, relevance: Relevance) -> PerQuery:
    return evaluate_side(lambda rows: cosines(side.queries.read(rows), side.gallery), relevance)


def _curve(
    gallery: MixedGallery, order: str, stages: Stages, old: Figures, new: Figures
) -> MeasuredCurve:
    curve = stages.curve(old=old, new=new)
    points = zip(stages.shares, stages.points, stages.flips, strict=True)
    return MeasuredCurve(
        strategy=gallery.strategy,
        transform=gallery.transform,
        queries=gallery.queries,
        calibration=gallery.calibration,
        order=order,
        labels_used=gallery.labels_used,
        points=tuple(Point(share, point.mean, flips) for share, point, flips in points),
        auc=curve.auc,
        gain=curve.gain,
        floor=curve.floor,
        dips=curve.dips,
        vectors_rewritten=gallery.vectors_rewritten,
        fit_seconds=gallery.fit_seconds,
    )


# What counts as relevant: labels, judgements, or the new model's own first ten -------------------


def _truth(relevant: Any) -> Labels | Judgements | None:
    if relevant is None or isinstance(relevant, Labels | Mapping):
        return relevant
    return Labels(relevant)


def _truth_name(truth: Labels | Judgements | None) -> Truth:
    if truth is None:
        return "new model's top 10"
    return "labels" if isinstance(truth, Labels) else "judgements"


def _judged_rows(qrels: Mapping[str, Mapping[str, float]]) -> list[int]:
    """The rows of queries with anything relevant."""
    return [
        int(query)
        for query, grades in qrels.items()
        if query.isdecimal() and any(grade > 0 for grade in grades.values())
    ]


def _relevance(sample: Sample, truth: Labels | Judgements | None, items: int) -> Relevance | None:
    """Turn labels or judgements into relevance for the sample; None where there are none."""
    if truth is None:
        return None
    if not isinstance(truth, Labels):
        names = [str(row) for row in sample.queries], [str(row) for row in sample.gallery]
        return _some(from_qrels(truth, *names), "judgements")
    labels = np.asarray(truth.items)
    if labels.shape != (items,):
        raise ShapeError(f"labels: expected one per item ({items}), got shape {labels.shape}")
    if sample.has_queries and truth.queries is None:
        raise InputError("queries and labels were given, but no labels of the queries")
    if not sample.has_queries and truth.queries is not None:
        raise InputError("query labels were given, but no queries")
    asked = np.asarray(truth.queries) if sample.has_queries else labels
    if sample.has_queries and asked.shape != (sample.queries_given,):
        raise ShapeError(
            f"query labels: expected one per query ({sample.queries_given}), got shape "
            f"{asked.shape}"
        )
    return _some(same_label(asked[sample.queries], labels[sample.gallery]), "labels")


def new_models_top(sample: Sample, few: int | None = None) -> Relevance:
    """Take the new model's exact first ten of each query as relevant; of the first few queries."""
    rows = np.arange(len(sample.queries))[:few]
    found: list[NDArray[np.int64]] = []
    for chunk in chunks(len(rows), len(sample.gallery)):
        scores = cosines(sample.new.queries.read(chunk), sample.new.gallery)
        size = min(TOP, scores.shape[1])
        found.extend(np.argpartition(-scores, size - 1, axis=1)[:, :size])
    return from_lists(found, len(sample.gallery))


def _some(relevance: Relevance, what: str) -> Relevance:
    if not np.any(relevance.stops > relevance.starts):
        raise InputError(
            f"the {what} name no relevant gallery item for any of {len(relevance)} queries, so "
            "there is nothing to measure"
        )
    return relevance
