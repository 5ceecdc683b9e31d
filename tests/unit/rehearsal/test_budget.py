"""Quality against the budget: lists as they are served, what they cost, and what follows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hotfill.errors import InputError, ShapeError
from hotfill.metrics import (
    Difference,
    average_precision,
    hit_rate,
    paired_difference,
    rank_lists,
    rank_scores,
    same_label,
)
from hotfill.rehearsal import Cost
from hotfill.rehearsal.budget import (
    BUDGETS,
    BudgetCurve,
    BudgetPoint,
    Criterion,
    K,
    _advice,
    _enough,
    _knee,
    best,
    measure_budgets,
    relevant_items,
    served,
)
from hotfill.rehearsal.maps import pairs_of
from hotfill.rehearsal.orders import random_order
from hotfill.rehearsal.report import must_embed
from hotfill.rehearsal.sample import EmbeddedBy, draw_sample
from hotfill.rehearsal.strategies import ImputedGallery
from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade.one_index import OneIndex
from tests.unit.rehearsal.short import rehearsed


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    rows = np.random.default_rng(0).permutation(len(data.data))[:900]
    return data.data[rows, :32] + 1, data.data[rows] + 1, data.target[rows]


@pytest.fixture(scope="module")
def rehearsal(digits):
    old, new, labels = digits
    return rehearsed(
        old, new, labels=labels, points=2, strategies=["prefill"], transforms=["bridge"],
        cost=Cost(90_000, 0.04, 0.001),
    )  # fmt: skip


def test_lists_are_judged_as_the_metrics_judge_them() -> None:
    rng = np.random.default_rng(1)
    relevance = same_label(rng.integers(8, size=40), rng.integers(6, size=70))
    scores = rng.integers(9, size=(40, 70)).astype(np.float32)  # with ties
    wanted = relevant_items(relevance, slice(0, 40))
    lists = best(scores, K)
    found = served(lists, wanted)
    judged = [row for row in range(40) if wanted[row].any()]
    ranks = rank_lists(
        [lists[row].tolist() for row in judged],
        [set(np.flatnonzero(wanted[row]).tolist()) for row in judged],
    )
    np.testing.assert_allclose(found.precision, average_precision(ranks, K))
    np.testing.assert_array_equal(found.right, hit_rate(ranks, 1))
    by_matrix = rank_scores(scores, relevance)
    np.testing.assert_array_equal(found.right, hit_rate(by_matrix, 1))


@pytest.mark.parametrize("ranking", ["raw", "calibrated"])
def test_a_mixed_gallery_is_served_as_an_upgrade_serves_it(digits, ranking, monkeypatch) -> None:
    """The oracle is a store that holds the vectors, searched and ranked by the upgrade's code."""
    old, new, labels = digits
    sample = draw_sample(EmbeddedBy(old), EmbeddedBy(new), fit=2000, seed=0)
    gallery = ImputedGallery(sample, pairs_of(sample), "kernel_bridge")
    monkeypatch.setattr(type(gallery.one), "ranking", ranking)
    order = random_order(len(sample.gallery), seed=3)
    relevance = same_label(labels[sample.queries], labels[sample.gallery])
    found = measure_budgets(sample, gallery, relevance, {"random": order})
    assert found.ranking == ranking

    one, names = gallery.one, [f"{row:04}" for row in range(len(order))]
    own, old_rows = sample.new.gallery.read(), sample.old.gallery.read()
    queries = sample.new.queries.read()
    store = MemoryGallery(sample.old.model)
    store.add_space(sample.new.model)
    versions = store.upsert(names, old_rows, space=sample.old.model)
    wanted = [
        {names[row] for row in np.flatnonzero(labels[sample.gallery] == label)}
        for label in labels[sample.queries]
    ]

    def move(rows, vectors, origin=None):
        some = [names[row] for row in rows]
        store.move(
            some, vectors, space=one.index_model, expected_versions=versions[rows], origin=origin
        )

    move(np.arange(len(order)), one.impute(old_rows), one.origin)
    for point in found.advised.points:
        moved = order[: round(point.budget * len(order))]
        if len(moved):
            move(moved, own[moved])
        if ranking == "calibrated":
            lists = [hits.item_ids for hits in OneIndex((one,)).search(store, queries, K)]
        else:
            lists = store.search({one.index_model: queries}, K)[one.index_model].item_ids
        expected = average_precision(rank_lists(lists, wanted), K).mean()
        assert point.quality["map@10"] == pytest.approx(expected, abs=1e-3)


def test_the_ends_are_the_old_and_the_new_model_alone(rehearsal, digits) -> None:
    old, new, labels = digits
    found = rehearsal.budget
    sample = draw_sample(EmbeddedBy(old), EmbeddedBy(new), fit=2000, seed=0)
    wanted = labels[sample.queries][:, None] == labels[sample.gallery][None, :]
    for side, figures in ((sample.old, found.old), (sample.new, found.new)):
        scores = side.queries.read() @ side.gallery.read().T
        expected = served(best(scores, K), wanted).to_dict()
        assert figures == pytest.approx(expected)
    for curve in found.curves:
        assert [point.budget for point in curve.points] == list(BUDGETS)
        assert curve.points[-1].quality == found.new
        assert curve.points[-1].way == 1
    assert {curve.order for curve in found.curves} == {"random", "uncertainty"}


def test_a_budget_costs_its_share_of_the_whole_gallery(rehearsal) -> None:
    point = rehearsal.budget.advised.at(0.2)
    assert (point.items, point.hours, point.price) == (18_000, pytest.approx(0.2), 18.0)
    unknown = rehearsed(*(np.random.default_rng(0).normal(size=(2, 300, 4)) + 1), points=2)
    assert unknown.budget.advised.at(0.2).hours is None


def test_models_of_one_dimension_are_judged_by_the_criterion_of_compatibility(digits) -> None:
    _, new, labels = digits
    few = {"points": 2, "strategies": ["compatible"], "labels": labels}
    same = rehearsed(new, new, **few).criterion
    assert (same.met, same.flips, same.difference.value) == (True, 0.0, 0.0)
    turned = new @ np.linalg.qr(np.random.default_rng(0).normal(size=(64, 64)))[0]
    other = rehearsed(new, turned, **few)
    assert other.criterion.met is False
    assert other.criterion.flips > 0.5
    assert "BCT's criterion is missed" in must_embed(other)
    assert other.budget is None


@pytest.mark.parametrize(
    ("low", "high", "met"), [(0.0, 0.1, True), (-0.2, -0.1, False), (-0.1, 0.1, None)]
)
def test_the_criterion_is_open_where_the_interval_holds_both_answers(low, high, met) -> None:
    found = Criterion(None, None, Difference((low + high) / 2, low, high), 0.0)  # type: ignore[arg-type]
    assert found.met is met


def curve(*values: float, old: float = 0.4, high: float = 0.1) -> BudgetCurve:
    """Values of map@10 at all budgets; the last is the new model's."""
    new = values[-1]
    return BudgetCurve(
        "random",
        tuple(
            BudgetPoint(
                budget, None, None, None, {"map@10": value, "hit_rate@1": value},
                (value - old) / (new - old) if new > old else None,
                Difference(value - old, value - old - 0.1, min(high, value - old + 0.1)), 0.0,
            )
            for budget, value in zip(BUDGETS, values, strict=True)
        ),
    )  # fmt: skip


def test_the_knee_and_what_is_enough() -> None:
    bent = curve(0.40, 0.43, 0.50, 0.55, 0.58, 0.59, 0.60)
    assert (_knee(bent), _enough(bent)) == (0.2, 0.5)
    assert "Not all of it: 50%" in _advice(bent)
    straight = curve(*(0.4 + 0.2 * share for share in BUDGETS))
    assert (_knee(straight), _enough(straight)) == (None, 1.0)
    assert _advice(straight).startswith("Yes")
    flat = curve(*[0.6] * len(BUDGETS))
    assert (_knee(flat), _enough(flat)) == (0.0, 0.0)
    assert _advice(flat).startswith("No:")
    worse = curve(*[0.3] * len(BUDGETS))
    assert (_knee(worse), _enough(worse)) == (None, None)
    assert "finds no more" in _advice(worse)
    begins_below = curve(0.3, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, high=-0.01)
    assert "worse than today" in _advice(begins_below)


def test_a_paired_interval_holds_the_mean_and_narrows_with_the_noise() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(400)
    certain = paired_difference(base + 0.1, base)
    assert certain.low == pytest.approx(0.1)
    assert certain.high == pytest.approx(0.1)
    noisy = paired_difference(base + 0.1 + rng.normal(scale=0.3, size=400), base)
    assert noisy.low < noisy.value < noisy.high
    # The bootstrap's interval is that of the normal approximation, for a mean of so many.
    spread = 1.96 * 0.3 / 20
    assert noisy.high - noisy.low == pytest.approx(2 * spread, rel=0.15)
    with pytest.raises(ShapeError, match="figure of every query"):
        paired_difference(base, base[:-1])


@pytest.mark.parametrize("values", [(0, 1.0, None), (10, -1.0, None), (10, None, float("nan"))])
def test_a_cost_that_cannot_be_is_refused(values) -> None:
    with pytest.raises(InputError):
        Cost(*values)
