"""Rehearse an upgrade on paper: is it worth it, and how? Nothing stored is touched."""

from __future__ import annotations

from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import ConfigError, InputError, ShapeError
from hotfill.metrics import Relevance
from hotfill.ranking import uncertainty
from hotfill.rehearsal.backfill_evaluation import (
    PerQuery,
    Stages,
    evaluate_backfill,
    evaluate_side,
    evenly,
)
from hotfill.rehearsal.fitting import MAPS, Fitted, Maps, fit_transform, pairs_of
from hotfill.rehearsal.mixed_gallery import MixedGallery
from hotfill.rehearsal.model_signs import model_signs
from hotfill.rehearsal.orders import (
    highest_first,
    popularity_times_uncertainty,
    random_order,
)
from hotfill.rehearsal.popularity import old_popularity
from hotfill.rehearsal.recommendation import recommend
from hotfill.rehearsal.rehearsal import MeasuredCurve, Point, Recommendation, Rehearsal
from hotfill.rehearsal.sample import ModelSample, Sample, cosines, draw_sample
from hotfill.rehearsal.thresholds import carry_threshold
from hotfill.rehearsal.truths import given_relevance, new_models_top, truth_name
from hotfill.rehearsal.ways import (
    DEFAULT_STRATEGIES,
    DEFAULT_TRANSFORMS,
    STRATEGIES,
    check_names,
    transform_names,
    ways,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hotfill.rehearsal.backfill_evaluation import Quality

ORDERS = ("random", "uncertainty", "popularity", "popularity_uncertainty")
DEFAULT_ORDERS = ("random", "uncertainty")

DEFAULT_FIT = 2000
DEFAULT_POINTS = 11
UNLABELLED_QUERIES = 400  # enough to choose by, where the curves shown are measured by labels
MIN_PAIRS = 100


def rehearse(
    old: Any,
    new: Any,
    *,
    queries_old: Any = None,
    queries_new: Any = None,
    labels: Any = None,
    query_labels: Any = None,
    qrels: Mapping[str, Mapping[str, float]] | None = None,
    fit: int = DEFAULT_FIT,
    strategies: Sequence[str] = DEFAULT_STRATEGIES,
    transforms: Sequence[str] = DEFAULT_TRANSFORMS,
    orders: Sequence[str] = DEFAULT_ORDERS,
    returned: Any = None,
    points: int = DEFAULT_POINTS,
    seed: int = 0,
    use_labels: bool = False,
    threshold: float | None = None,
    more_maps: Maps | None = None,
) -> Rehearsal:
    """Measure every way through an upgrade on a sample and recommend one.

    old, new: (n, d_old), (n, d_new), float16 or float32, row i of both is the same item; arrays or
        memory-mapped files, compared by the cosine. n >= 300, dimensions >= 2.
    queries_old, queries_new: (q, d_old), (q, d_new), row i the same query; at most 1,000 are drawn.
        Without them a tenth of the items (at most 1,000) become queries and leave the gallery.
        A gallery of more than 50,000 items is asked fewer, 200 at least.
    labels, query_labels: integers or texts, (n,) and (q,): relevant is the same label.
    qrels: judgements {query: {item: grade}}, both named by their row number as text ("17").
        Without labels and judgements, the new model's exact first ten are relevant.
    fit: pairs to fit on, at most n // 3; they are drawn from the items and leave the gallery.
    strategies: of naive_merge, merge, prefill, compatible (only measured where both models have
        one dimension), rrf.
    transforms: how merge and prefill bring the two models together: names of `MAPS` and of
        more_maps, "own query and kernel bridge", "two encoders" and "slerp" (these embed a query
        twice). A map that goes down is measured as merge, one that goes up as prefill, where the
        strategy is asked for.
    orders: of random, uncertainty, popularity, popularity_uncertainty.
    returned: (n,) >= 0, how often each item was returned, from a query log, for the orders by
        popularity. Without it the items fitted on stand in for the queries of a log.
    points: shares measured, evenly from 0 to 1. seed: of all that is random.
    use_labels: whether the recommendation may look at labels or judgements.
    threshold: a limit below which the application drops hits, of the old model's cosine; it is
        carried over to the new model's (`thresholds`).
    more_maps: further maps by name, as `hotfill.lab.training.transforms.label_free.LABEL_FREE`.

    Memory is bounded by blocks of items and chunks of queries, whatever n is; mapped vectors are
    kept in a temporary file, 4 n d bytes for each transform.
    Raises ShapeError, VectorError, InputError (too few items, labels without any pair, a threshold
    that nothing reaches), ConfigError (an unknown strategy, transform or order; nothing left to
    measure).
    """
    began = perf_counter()
    maps = {**MAPS, **(more_maps or {})}
    check_names("strategy", strategies, STRATEGIES)
    check_names("transform", transforms, transform_names(maps))
    check_names("order", orders, ORDERS)
    shares = evenly(points)
    sample = draw_sample(
        old,
        new,
        old_queries=queries_old,
        new_queries=queries_new,
        fit=fit,
        seed=seed,
        judged=None if qrels is None else _judged_rows(qrels),
    )
    if len(sample.fit) < MIN_PAIRS:
        raise InputError(
            f"{len(sample.fit)} pairs to fit on are too few: at least {MIN_PAIRS} are needed, "
            "and 2,000 give a good fit"
        )
    popularity = _popularity(returned, orders, sample, len(old))
    given = given_relevance(sample, labels, query_labels, qrels, len(old))
    if use_labels and given is None:
        raise InputError("use_labels needs labels or judgements, and none were given")
    shown = _Measurement(sample, given or new_models_top(sample), shares)
    pairs = pairs_of(sample)
    fitted = cache(lambda name: fit_transform(name, sample, pairs, maps))
    galleries = list(
        ways(sample, pairs, fitted, strategies=strategies, transforms=transforms, maps=maps)
    )
    if not galleries:
        raise ConfigError(
            f"none of the transforms {', '.join(transforms)} serves the strategies "
            f"{', '.join(strategies)}: maps that go down serve merge, maps that go up prefill, and "
            "compatible needs two models of one dimension"
        )
    permutations = _permutations(sample, fitted, orders, popularity, seed)
    curves = [curve for some in galleries for curve in shown.curves(some, permutations)]
    if given is None or use_labels:
        seen, seen_curves = shown, curves
    else:
        seen = _Measurement(sample, new_models_top(sample, UNLABELLED_QUERIES), shares)
        seen_curves = [curve for some in galleries for curve in seen.curves(some, permutations)]
    recommendation = recommend(
        seen_curves,
        old=seen.old,
        new=seen.new,
        signs=model_signs(sample.old.fit.read(), sample.new.fit.read(), seed=seed),
        labels_used=use_labels,
    )
    carried = None
    if threshold is not None:
        way = next(each for each in galleries if _is(each, recommendation))
        order = permutations[recommendation.order]
        carried = carry_threshold(threshold, sample, way, order, shares, given)
    return Rehearsal(
        old=shown.old.mean,
        new=shown.new.mean,
        curves=tuple(curves),
        recommendation=recommendation,
        truth=truth_name(labels, qrels),
        items=len(sample.gallery),
        queries=len(shown.old.right),
        skipped=len(sample.queries) - len(shown.old.right),
        queries_given=sample.queries_given,
        fit_pairs=len(sample.fit),
        old_dimension=sample.old.model.dimension,
        new_dimension=sample.new.model.dimension,
        seed=seed,
        seconds=perf_counter() - began,
        threshold=carried,
    )


class _Measurement:
    """One truth: the old and the new system measured by it, and then any strategy."""

    def __init__(self, sample: Sample, relevance: Relevance, shares: tuple[float, ...]) -> None:
        self._relevance = relevance
        self._shares = shares
        self.old = _alone(sample.old, relevance)
        self.new = _alone(sample.new, relevance)

    def curves(
        self, gallery: MixedGallery, orders: Mapping[str, NDArray[np.int64]]
    ) -> Iterator[MeasuredCurve]:
        """Measure one strategy in every order."""
        stages = evaluate_backfill(gallery, self._relevance, orders, self._shares)
        for order, measured in stages.items():
            yield _curve(gallery, order, measured, self.old.mean, self.new.mean)


def _is(gallery: MixedGallery, wanted: Recommendation) -> bool:
    return (gallery.strategy, gallery.transform, gallery.calibration) == (
        wanted.strategy,
        wanted.transform,
        wanted.calibration,
    )


def _permutations(
    sample: Sample,
    fitted: Callable[[str], Fitted],
    orders: Sequence[str],
    popularity: NDArray[np.float64] | None,
    seed: int,
) -> dict[str, NDArray[np.int64]]:
    """Make the orders asked for, by name."""
    found: dict[str, NDArray[np.int64]] = {}
    if "random" in orders:
        found["random"] = random_order(len(sample.gallery), seed=seed)
    if {"uncertainty", "popularity_uncertainty"} & set(orders):
        transform = fitted("kernel bridge").transform
        unsure = np.concatenate(
            [uncertainty(transform, block) for _, block in sample.old.gallery.blocks()]
        )
    if {"popularity", "popularity_uncertainty"} & set(orders):
        asked = old_popularity(sample) if popularity is None else popularity
    if "uncertainty" in orders:
        found["uncertainty"] = highest_first(unsure, seed=seed)
    if "popularity" in orders:
        found["popularity"] = highest_first(asked, seed=seed)
    if "popularity_uncertainty" in orders:
        # Only the order of doubts means something: their ranks are multiplied, not their values.
        rank = np.argsort(np.argsort(unsure)) / len(unsure)
        found["popularity_uncertainty"] = popularity_times_uncertainty(asked, rank, seed=seed)
    return found


def _alone(side: ModelSample, relevance: Relevance) -> PerQuery:
    return evaluate_side(lambda rows: cosines(side.queries.read(rows), side.gallery), relevance)


def _curve(
    gallery: MixedGallery, order: str, stages: Stages, old: Quality, new: Quality
) -> MeasuredCurve:
    curve = stages.curve(old=old, new=new)
    points = zip(stages.shares, stages.points, stages.flips, strict=True)
    return MeasuredCurve(
        strategy=gallery.strategy,
        transform=gallery.transform,
        calibration=gallery.calibration,
        order=order,
        labels_used=gallery.labels_used,
        points=tuple(Point(share, point.mean, flips) for share, point, flips in points),
        auc=curve.auc,
        gain=curve.gain,
        floor=curve.floor,
        dips=curve.dips,
        vectors_rewritten=gallery.vectors_rewritten,
        query_encodings=gallery.query_encodings,
        fit_seconds=gallery.fit_seconds,
    )


def _judged_rows(qrels: Mapping[str, Mapping[str, float]]) -> list[int]:
    """The rows of queries with anything relevant."""
    return [
        int(query)
        for query, grades in qrels.items()
        if query.isdecimal() and any(grade > 0 for grade in grades.values())
    ]


def _popularity(
    returned: Any, orders: Sequence[str], sample: Sample, items: int
) -> NDArray[np.float64] | None:
    """How often each gallery item was returned, where a log says so."""
    if returned is None:
        return None
    if not {"popularity", "popularity_uncertainty"} & set(orders):
        raise ConfigError(
            "a query log serves the orders popularity and popularity_uncertainty, and neither was "
            "asked for"
        )
    counts = np.asarray(returned, dtype=np.float64)
    if counts.shape != (items,):
        raise ShapeError(f"returned: expected one count per item ({items}), got {counts.shape}")
    if not (np.isfinite(counts).all() and counts.min() >= 0):
        raise InputError("how often an item was returned must be a finite number >= 0")
    return np.asarray(counts[sample.gallery])
