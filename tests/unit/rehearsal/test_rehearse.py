"""A rehearsal measures every way, recommends one, and refuses what cannot be measured."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hotfill.errors import ConfigError, HotfillError, InputError, ShapeError, VectorError
from hotfill.metrics import average_precision, rank_scores, same_label
from hotfill.ranking import fit_procrustes
from hotfill.rehearsal import MAPS, Labels, RehearsalSettings, rehearse
from tests.unit.rehearsal.short import rehearsed


@pytest.fixture(scope="module")
def digits():
    """900 digits; old model: the upper half of the pixels; new model: all of them."""
    data = load_digits()
    rows = np.random.default_rng(0).permutation(len(data.data))[:900]
    return data.data[rows, :32], data.data[rows], data.target[rows]


@pytest.fixture(scope="module")
def rehearsal(digits):
    old, new, labels = digits
    return rehearsed(old, new, labels=labels, points=5, strategies=["naive_merge", "merge"])


def test_arrays_alone_are_enough_and_labels_may_be_one(digits) -> None:
    old, new, labels = digits
    few = RehearsalSettings(points=2, strategies=["naive_merge"], orders=["random"])
    assert rehearse(old, new, settings=few).truth == "new model's top 10"
    plain = rehearse(old, new, relevant=labels, settings=few)
    assert plain.new == rehearse(old, new, relevant=Labels(labels), settings=few).new
    assert plain.recommendation.strategy == "naive_merge"


@pytest.mark.parametrize(("use_labels", "ways"), [(True, 2), (False, 4)])
def test_it_tells_how_many_ways_are_measured_of_how_many(digits, use_labels, ways) -> None:
    old, new, labels = digits
    told: list[tuple[int, int]] = []
    few = RehearsalSettings(
        points=2, strategies=["naive_merge", "compatible"], use_labels=use_labels
    )
    rehearse(
        old, new[:, :32], relevant=labels, settings=few,
        on_measured=lambda done, of: told.append((done, of)),
    )  # fmt: skip
    assert told == [(done, ways + 1) for done in range(1, ways + 1)]


def test_the_json_holds_what_was_promised(rehearsal) -> None:
    found = json.loads(rehearsal.to_json())
    assert {"old", "new", "curves", "recommendation"} <= set(found)
    assert set(found["old"]) == {"map", "hit_rate@1", "ndcg@10"}
    for curve in found["curves"]:
        assert set(curve) == {
            "strategy", "transform", "queries", "calibration", "order", "labels_used", "points",
            "auc", "gain", "floor", "dips", "vectors_rewritten", "query_encodings", "fit_seconds",
        }  # fmt: skip
        assert [point["share"] for point in curve["points"]] == [0, 0.25, 0.5, 0.75, 1]
        assert set(curve["points"][0]) == {"share", "map", "hit_rate@1", "ndcg@10", "flips"}
    assert set(found["recommendation"]) >= {
        "strategy", "transform", "queries", "calibration", "order", "expected_gain", "worth_it",
        "why",
    }  # fmt: skip


def test_fit_rows_queries_and_gallery_share_no_item(digits) -> None:
    old, new, _ = digits
    # An id in a last column would change the cosines; instead count: 900 = 300 + 90 + 510.
    found = rehearsed(old, new, points=2, strategies=["naive_merge"], orders=["random"])
    assert (found.fit_pairs, found.queries, found.items) == (300, 90, 510)


def test_every_curve_ends_at_the_new_model_and_the_naive_one_starts_at_the_old(rehearsal) -> None:
    for curve in rehearsal.curves:
        assert curve.points[-1].quality == rehearsal.new
    assert rehearsal.curves[0].strategy == "naive_merge"
    assert rehearsal.curves[0].points[0].quality == rehearsal.old


def test_given_queries_are_measured_against_all_items_but_the_fit_rows(digits) -> None:
    old, new, labels = digits
    found = rehearsed(
        old[100:], new[100:], asked=(old[:100], new[:100]), labels=labels[100:],
        query_labels=labels[:100], points=2, strategies=["naive_merge"], orders=["random"], seed=4,
    )  # fmt: skip
    fit = np.random.default_rng(4).permutation(800)[: 800 // 3]
    gallery = np.setdiff1d(np.arange(800), fit) + 100
    unit = new / np.linalg.norm(new, axis=1, keepdims=True)
    ranks = rank_scores(unit[:100] @ unit[gallery].T, same_label(labels[:100], labels[gallery]))
    assert found.new.map == pytest.approx(average_precision(ranks).mean(), abs=1e-5)
    assert (found.items, found.queries) == (len(gallery), 100)


def test_judgements_by_row_number_mean_the_same_as_labels(digits) -> None:
    old, new, labels = digits
    few = {"points": 2, "strategies": ["naive_merge"], "orders": ["random"]}
    qrels = {
        str(query): {str(item): 1 for item in np.flatnonzero(labels == labels[query])}
        for query in range(len(labels))
    }
    by_label = rehearsed(old, new, labels=labels, **few)
    judged = rehearsed(old, new, relevant=qrels, **few)
    assert judged.new == by_label.new
    assert judged.truth == "judgements"


def test_without_labels_the_new_models_first_ten_are_relevant(digits) -> None:
    old, new, _ = digits
    found = rehearsed(old, new, points=3, strategies=["merge"], orders=["random"])
    assert found.truth == "new model's top 10"
    assert found.new.map == 1
    assert not found.recommendation.labels_used


def test_labels_do_not_sway_the_recommendation_unless_asked(digits) -> None:
    old, new, labels = digits
    few = {"points": 3, "strategies": ["merge"], "orders": ["random"]}
    shuffled = np.random.default_rng(0).permutation(labels)
    one = rehearsed(old, new, labels=labels, **few)
    other = rehearsed(old, new, labels=shuffled, **few)
    assert one.recommendation == other.recommendation
    assert one.old != other.old
    asked = rehearsed(old, new, labels=shuffled, use_labels=True, **few)
    assert asked.recommendation.labels_used
    assert not asked.recommendation.worth_it


def test_a_worse_new_model_is_not_worth_it(digits) -> None:
    old, new, labels = digits
    found = rehearsed(new, old, labels=labels, use_labels=True, points=3, orders=["random"])
    assert not found.recommendation.worth_it
    assert "not better" in found.recommendation.why
    assert found.recommendation.expected_gain is None


def test_noise_in_the_new_model_is_seen_without_labels(digits) -> None:
    old, new, _ = digits
    noisy = new + np.random.default_rng(0).normal(scale=10, size=new.shape)
    found = rehearsed(old, noisy, points=3, strategies=["merge"], orders=["random"])
    assert not found.recommendation.worth_it
    assert "without labels" in found.recommendation.why


def test_a_better_new_model_is_worth_it(digits) -> None:
    old, new, labels = digits
    found = rehearsed(old, new, labels=labels, use_labels=True, points=3, orders=["random"])
    assert found.recommendation.worth_it
    assert found.recommended_curve().gain == found.recommendation.expected_gain


def test_identical_models_give_flat_curves_and_are_not_worth_it(digits) -> None:
    _, new, labels = digits
    found = rehearsed(new, new, labels=labels, points=3, strategies=["naive_merge", "compatible"])
    assert found.old == found.new
    for curve in found.curves:
        assert len({point.quality.map for point in curve.points}) == 1
        assert curve.gain is None
    assert not found.recommendation.worth_it
    assert "same neighbours" in found.recommendation.why


def test_models_of_different_dimensions_are_not_measured_as_compatible(digits) -> None:
    old, new, _ = digits
    found = rehearsed(old, new, points=2, strategies=["naive_merge", "compatible"])
    assert {curve.strategy for curve in found.curves} == {"naive_merge"}


def test_half_precision_is_read_as_it_is(digits) -> None:
    old, new, labels = digits
    few = {"labels": labels, "points": 2, "strategies": ["naive_merge"], "orders": ["random"]}
    half = rehearsed(old.astype(np.float16), new.astype(np.float16), **few)
    assert half.new == rehearsed(old, new, **few).new  # pixels are small whole numbers


def test_the_same_seed_gives_the_same_rehearsal(digits) -> None:
    old, new, _ = digits
    few = {"points": 2, "strategies": ["prefill"], "orders": ["popularity_uncertainty"], "seed": 7}
    first, second = rehearsed(old, new, **few), rehearsed(old, new, **few)
    assert [curve.points for curve in first.curves] == [curve.points for curve in second.curves]


def test_every_transform_of_the_catalogue_is_measured_where_its_strategy_is_asked_for(
    digits,
) -> None:
    old, new, _ = digits
    few = {"points": 2, "orders": ["random"]}
    found = rehearsed(old, new, strategies=["merge", "prefill"], transforms=list(MAPS), **few)
    made = {(curve.strategy, curve.transform, curve.queries) for curve in found.curves}
    assert made == {
        *(("merge", name, queries) for name in MAPS for queries in ("new", "both")),
        *(("prefill", name, "new") for name in MAPS if "up" in MAPS[name]),
    }
    downward = rehearsed(
        old, new, strategies=["merge"], transforms=["ridge"], queries=["new"], **few
    )
    assert [curve.name for curve in downward.curves] == ["merge (ridge, tail)"]


def test_maps_of_ones_own_are_measured_by_their_name(digits) -> None:
    old, new, _ = digits

    def turned(old, new, old_model, new_model):
        return fit_procrustes(new, old, source=new_model, target=old_model)

    few = {"points": 2, "strategies": ["merge"], "orders": ["random"]}
    own = rehearsed(old, new, transforms=["mine"], more_maps={"mine": {"down": turned}}, **few)
    known = rehearsed(old, new, transforms=["procrustes"], **few)
    assert own.curves[0].transform == "mine"
    assert own.curves[0].points == known.curves[0].points


def test_a_query_log_decides_the_order_by_popularity(digits) -> None:
    """Items returned most move first: with all the others the same, the order is the log's."""
    old, new, labels = digits
    few = {"labels": labels, "points": 3, "strategies": ["naive_merge"], "orders": ["popularity"]}
    returned = np.random.default_rng(0).permutation(900)
    found = rehearsed(old, new, returned=returned, **few)
    shuffled = np.random.default_rng(0).permutation(900)
    gallery, queries = np.sort(shuffled[390:]), shuffled[300:390]
    moved = np.zeros(510, dtype=bool)
    moved[np.argsort(-returned[gallery])[:255]] = True
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (old, new)]
    half = np.where(moved, *(rows[queries] @ rows[gallery].T for rows in reversed(unit)))
    ranks = rank_scores(half, same_label(labels[queries], labels[gallery]))
    middle = found.curves[0].points[1].quality
    assert middle.map == pytest.approx(average_precision(ranks).mean(), abs=1e-5)


def test_of_many_queries_those_with_judgements_are_asked(digits, monkeypatch) -> None:
    monkeypatch.setattr("hotfill.rehearsal.sample.MAX_QUERIES", 30)
    old, new, _ = digits
    fit = np.random.default_rng(0).permutation(900)[:300]
    first, second = np.setdiff1d(np.arange(900), fit)[:2].astype(str)
    judged = {str(row): {first: 1.0, second: 0.0} for row in range(40)} | {"50": {second: 0.0}}
    few = {"points": 2, "strategies": ["naive_merge"], "orders": ["random"], "relevant": judged}
    found = rehearsed(old, new, asked=(old[:200], new[:200]), **few)
    assert (found.queries, found.skipped, found.queries_given) == (30, 0, 200)


def test_a_large_gallery_is_asked_fewer_queries(digits, monkeypatch) -> None:
    monkeypatch.setattr("hotfill.rehearsal.sample.MIN_QUERIES", 20)
    monkeypatch.setattr("hotfill.rehearsal.sample.MAX_SCORES", 600 * 40)
    old, new, _ = digits
    few = {"points": 2, "strategies": ["naive_merge"], "orders": ["random"]}
    assert rehearsed(old, new, **few).queries == 40
    monkeypatch.setattr("hotfill.rehearsal.sample.MAX_SCORES", 1)
    assert rehearsed(old, new, **few).queries == 20


def bad(digits, **changes):
    old, new, labels = digits
    return {"old": old, "new": new, "labels": labels, "points": 2, **changes}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda old, new, labels: {"new": new[:-1]}, ShapeError, "got 900 old and 899 new"),
        (lambda old, new, labels: {"old": old[:, 0]}, ShapeError, r"shape \(n, dimension\)"),
        (lambda old, new, labels: {"old": np.where(old == 3, np.nan, old)}, VectorError, "NaN"),
        (lambda old, new, labels: {"old": np.ones((900, 5))}, VectorError, "are the same"),
        (lambda old, new, labels: {"new": new[:, :1]}, ShapeError, "one dimension"),
        (lambda old, new, labels: {"new": 0 * new}, VectorError, "zero"),
        (lambda old, new, labels: {"old": old[:99], "new": new[:99]}, InputError, "at least 300"),
        (lambda old, new, labels: {"fit": 50}, InputError, "at least 100 are needed"),
        (lambda old, new, labels: {"fit": 0}, InputError, ">= 1"),
        (lambda old, new, labels: {"labels": np.arange(900)}, InputError, "no relevant gallery"),
        (lambda old, new, labels: {"labels": labels[:-1]}, ShapeError, "one per item"),
        (lambda old, new, labels: {"asked": (old, None)}, InputError, "one array is missing"),
        (
            lambda old, new, labels: {"asked": (old, new)},
            InputError,
            "no labels of the queries",
        ),
        (lambda old, new, labels: {"query_labels": labels}, InputError, "no queries"),
        (lambda old, new, labels: {"labels": None, "use_labels": True}, InputError, "none were"),
        (lambda old, new, labels: {"strategies": ["marge"]}, ConfigError, "'marge'"),
        (lambda old, new, labels: {"transforms": ["brigde"]}, ConfigError, "kernel_bridge"),
        (
            lambda old, new, labels: {"transforms": ["ridge"], "strategies": ["prefill"]},
            ConfigError,
            "none of the transforms ridge serves the strategies prefill",
        ),
        (lambda old, new, labels: {"returned": labels}, ConfigError, "neither was asked for"),
        (
            lambda old, new, labels: {"returned": labels[:9], "orders": ["popularity"]},
            ShapeError,
            r"one count per item \(900\)",
        ),
        (
            lambda old, new, labels: {"returned": labels - 1, "orders": ["popularity"]},
            InputError,
            ">= 0",
        ),
        (lambda old, new, labels: {"orders": "random"}, ConfigError, "a list"),
        (lambda old, new, labels: {"points": 1}, InputError, "at least 2 points"),
    ],
)
def test_bad_input_is_refused(digits, change, error, message) -> None:
    with pytest.raises(error, match=message) as caught:
        rehearsed(**bad(digits, **change(*digits)))
    assert isinstance(caught.value, HotfillError)
