"""Rehearse an upgrade on paper: is it worth it, and how? Nothing stored is touched."""

from __future__ import annotations

from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import ConfigError, InputError, ShapeError
from hotfill.evaluation.backfill_evaluation import (
    PerQuery,
    Stages,
    chunks,
    evaluate_backfill,
    evaluate_side,
    evenly,
)
from hotfill.evaluation.fitting import Fitted, Pairs, fit_transform, pairs_of
from hotfill.evaluation.mixed_gallery import MixedGallery
from hotfill.evaluation.model_signs import model_signs
from hotfill.evaluation.orders import (
    highest_first,
    popularity_times_uncertainty,
    random_order,
)
from hotfill.evaluation.popularity import old_popularity
from hotfill.evaluation.recommendation import recommend
from hotfill.evaluation.rehearsal import MeasuredCurve, Point, Rehearsal, Truth
from hotfill.evaluation.sample import ModelSample, Sample, cosines, draw_sample
from hotfill.evaluation.strategies import merge_down, merge_up, rank_fusion, two_encoders
from hotfill.metrics import Relevance, from_lists, from_qrels, same_label
from hotfill.transforms import uncertainty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hotfill.evaluation.backfill_evaluation import Quality

STRATEGIES = ("naive_merge", "merge", "prefill", "compatible", "rrf")
DEFAULT_STRATEGIES = ("naive_merge", "merge", "prefill", "compatible")
ORDERS = ("random", "uncertainty", "popularity", "popularity_uncertainty")
DEFAULT_ORDERS = ("random", "uncertainty")

DEFAULT_FIT = 2000
DEFAULT_POINTS = 11
TOP = 10  # without labels, the new model's exact first ten are relevant
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
    orders: Sequence[str] = DEFAULT_ORDERS,
    points: int = DEFAULT_POINTS,
    seed: int = 0,
    use_labels: bool = False,
) -> Rehearsal:
    """Measure every way through an upgrade on a sample and recommend one.

    old, new: (n, d_old), (n, d_new), float16 or float32, row i of both is the same item; arrays or
        memory-mapped files, compared by the cosine. n >= 300.
    queries_old, queries_new: (q, d_old), (q, d_new), row i the same query. Without them a tenth of
        the items (at most 1,000) become queries and leave the gallery.
    labels, query_labels: integers or texts, (n,) and (q,): relevant is the same label.
    qrels: judgements {query: {item: grade}}, both named by their row number as text ("17").
        Without labels and judgements, the new model's exact first ten are relevant.
    fit: pairs to fit on, at most n // 3; they are drawn from the items and leave the gallery.
    strategies: of naive_merge, merge, prefill, compatible (only measured where both models have
        one dimension), rrf. orders: of random, uncertainty, popularity, popularity_uncertainty.
    points: shares measured, evenly from 0 to 1. seed: of all that is random.
    use_labels: whether the recommendation may look at labels or judgements.

    Memory is bounded by blocks of items and chunks of queries, whatever n is.
    Raises ShapeError, VectorError, InputError (too few items, labels without any pair), ConfigError
    (an unknown strategy or order).
    """
    began = perf_counter()
    _known("strategy", strategies, STRATEGIES)
    _known("order", orders, ORDERS)
    shares = evenly(points)
    sample = draw_sample(
        old, new, old_queries=queries_old, new_queries=queries_new, fit=fit, seed=seed
    )
    if len(sample.fit) < MIN_PAIRS:
        raise InputError(
            f"{len(sample.fit)} pairs to fit on are too few: at least {MIN_PAIRS} are needed, "
            "and 2,000 give a good fit"
        )
    given = _given_relevance(sample, labels, query_labels, qrels, len(old))
    if use_labels and given is None:
        raise InputError("use_labels needs labels or judgements, and none were given")
    shown = _Measurement(sample, given or _new_models_top(sample), shares)
    pairs = pairs_of(sample)
    fitted = cache(lambda name: fit_transform(name, sample, pairs))
    galleries = list(_galleries(sample, pairs, fitted, strategies))
    permutations = _permutations(sample, fitted, orders, seed)
    curves = [curve for some in galleries for curve in shown.curves(some, permutations)]
    if given is None or use_labels:
        seen, seen_curves = shown, curves
    else:
        seen = _Measurement(sample, _new_models_top(sample, UNLABELLED_QUERIES), shares)
        seen_curves = [curve for some in galleries for curve in seen.curves(some, permutations)]
    recommendation = recommend(
        seen_curves,
        old=seen.old,
        new=seen.new,
        signs=model_signs(sample.old.fit.read(), sample.new.fit.read(), seed=seed),
        labels_used=use_labels,
    )
    return Rehearsal(
        old=shown.old.mean,
        new=shown.new.mean,
        curves=tuple(curves),
        recommendation=recommendation,
        truth=_truth(labels, qrels),
        items=len(sample.gallery),
        queries=len(shown.old.right),
        skipped=len(sample.queries) - len(shown.old.right),
        fit_pairs=len(sample.fit),
        old_dimension=sample.old.model.dimension,
        new_dimension=sample.new.model.dimension,
        seed=seed,
        seconds=perf_counter() - began,
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


def _galleries(
    sample: Sample, pairs: Pairs, fitted: Callable[[str], Fitted], strategies: Sequence[str]
) -> Iterator[MixedGallery]:
    """Make every variant of the strategies asked for."""
    if "naive_merge" in strategies:
        yield two_encoders(sample, pairs, calibration="none")
    if "rrf" in strategies:
        yield rank_fusion(sample)
    if "merge" in strategies:
        yield merge_down(sample, pairs, fitted("bridge"), calibration="tail")
        yield merge_down(sample, pairs, fitted("kernel bridge"), calibration="tail")
        yield two_encoders(sample, pairs, calibration="tail")
    if "prefill" in strategies:
        for name in ("ridge up", "kernel up"):
            yield merge_up(sample, pairs, fitted(name), strategy="prefill", calibration="none")
    if "compatible" in strategies and sample.old.model.dimension == sample.new.model.dimension:
        same = fitted("identity")
        yield merge_up(sample, pairs, same, strategy="compatible", calibration="none")


def _permutations(
    sample: Sample, fitted: Callable[[str], Fitted], orders: Sequence[str], seed: int
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
        asked = old_popularity(sample)
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


def _truth(labels: Any, qrels: Any) -> Truth:
    if labels is not None:
        return "labels"
    return "judgements" if qrels is not None else "new model's top 10"


def _given_relevance(
    sample: Sample,
    labels: Any,
    query_labels: Any,
    qrels: Mapping[str, Mapping[str, float]] | None,
    items: int,
) -> Relevance | None:
    """Turn labels or judgements into relevance for the sample; None where there are none."""
    if labels is not None and qrels is not None:
        raise InputError("labels and judgements were both given; which of them is the truth?")
    if qrels is not None:
        names = [str(row) for row in sample.queries], [str(row) for row in sample.gallery]
        return _some(from_qrels(qrels, *names), "judgements")
    if labels is None:
        if query_labels is not None:
            raise InputError("query labels were given, but no labels of the items")
        return None
    item_labels = np.asarray(labels)
    if item_labels.shape != (items,):
        raise ShapeError(f"labels: expected one per item ({items}), got shape {item_labels.shape}")
    if sample.own_queries and query_labels is None:
        raise InputError("queries and labels were given, but no labels of the queries")
    if not sample.own_queries and query_labels is not None:
        raise InputError("query labels were given, but no queries")
    asked = np.asarray(query_labels) if sample.own_queries else item_labels
    if asked.ndim != 1 or len(asked) <= sample.queries.max():
        raise ShapeError(f"query labels: expected one per query, got shape {asked.shape}")
    return _some(same_label(asked[sample.queries], item_labels[sample.gallery]), "labels")


def _some(relevance: Relevance, what: str) -> Relevance:
    if not np.any(relevance.stops > relevance.starts):
        raise InputError(
            f"the {what} name no relevant gallery item for any of {len(relevance)} queries, so "
            "there is nothing to measure"
        )
    return relevance


def _new_models_top(sample: Sample, few: int | None = None) -> Relevance:
    """Take the new model's exact first ten of each query as relevant."""
    rows = np.arange(len(sample.queries))[:few]
    found: list[NDArray[np.int64]] = []
    for chunk in chunks(len(rows), len(sample.gallery)):
        scores = cosines(sample.new.queries.read(chunk), sample.new.gallery)
        size = min(TOP, scores.shape[1])
        found.extend(np.argpartition(-scores, size - 1, axis=1)[:, :size])
    return from_lists(found, len(sample.gallery))


def _known(what: str, given: Sequence[str], possible: Sequence[str]) -> None:
    if isinstance(given, str) or not given:
        raise ConfigError(f"expected a list of one {what} or more, of {', '.join(possible)}")
    for name in given:
        if name not in possible:
            raise ConfigError(f"unknown {what} {name!r}; expected some of {', '.join(possible)}")
