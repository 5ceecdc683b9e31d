"""Section 8, point 1 of the method specification: what an exact evaluator must show.

Real vectors: scikit-learn's digits; the old model sees the upper half of each picture. The first
tests are the point's own four; the others its list of parts.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score

from hotfill.metrics import BackfillCurve, average_precision, hit_rate, rank_scores, same_label
from hotfill.ranking import SideHits, rank_merge
from hotfill.rehearsal.backfill_evaluation import evaluate_backfill, evaluate_side, evenly
from hotfill.rehearsal.mixed_gallery import MixedGallery
from hotfill.rehearsal.orders import random_order

ITEMS, QUERIES = 240, 40


@pytest.fixture(scope="module")
def systems():
    """Scores (queries, items) of the old and the new system, and what is relevant."""
    data = load_digits()
    rows = np.random.default_rng(0).permutation(len(data.data))[: ITEMS + QUERIES]
    new = data.data[rows] / np.linalg.norm(data.data[rows], axis=1, keepdims=True)
    half = data.data[rows, :32]
    old = half / np.linalg.norm(half, axis=1, keepdims=True)
    old, new = old.astype(np.float32), new.astype(np.float32)
    labels = data.target[rows]
    relevance = same_label(labels[:QUERIES], labels[QUERIES:])
    return old[:QUERIES] @ old[QUERIES:].T, new[:QUERIES] @ new[QUERIES:].T, relevance


def naive(old, new):
    return MixedGallery("naive_merge", "none", "none", lambda rows: (old[rows], new[rows]))


def stages_of(old, new, relevance, points=11):
    order = {"random": random_order(ITEMS, seed=0)}
    return evaluate_backfill(naive(old, new), relevance, order, evenly(points))["random"]


def test_at_0_the_naive_merge_is_the_old_system_and_at_1_the_new_one_exactly(systems) -> None:
    """beta = 0 equals M(old, old) and beta = 1 equals M(new, new), query by query."""
    old, new, relevance = systems
    stages = stages_of(old, new, relevance)
    for point, scores in ((stages.points[0], old), (stages.points[-1], new)):
        alone = rank_scores(scores, relevance)
        np.testing.assert_array_equal(point.average_precision, average_precision(alone))
        np.testing.assert_array_equal(point.right, hit_rate(alone, 1))


def test_identical_models_give_a_flat_curve(systems) -> None:
    _, new, relevance = systems
    stages = stages_of(new, new, relevance)
    curve = stages.curve(old=stages.points[0].mean, new=stages.points[-1].mean)
    assert len(set(curve.values)) == 1
    assert (curve.gain, curve.dips, curve.floor) == (None, 0, 0)
    assert set(stages.flips) == {0.0}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_the_top_of_two_indexes_merged_is_the_top_of_the_merged_matrix(systems, share, k) -> None:
    old, new, _ = systems
    moved = np.zeros(ITEMS, dtype=bool)
    moved[random_order(ITEMS, seed=0)[: int(share * ITEMS)]] = True
    merged = np.where(moved, new, old)
    for query in range(QUERIES):
        sides = []
        for scores, held in ((old[query], ~moved), (new[query], moved)):
            items = np.flatnonzero(held)
            best = items[np.argsort(-scores[items], kind="stable")[:k]]
            sides.append(SideHits([str(item) for item in best], scores[best], scores[best]))
        expected = np.sort(merged[query])[::-1][:k]
        found = rank_merge(sides, k)
        np.testing.assert_allclose(found.scores, expected, rtol=2e-6)  # ties are within noise
        scores = [merged[query, int(item)] for item in found.item_ids]
        np.testing.assert_allclose(scores, expected, rtol=2e-6)


def test_the_gain_of_a_linear_curve_is_one_half() -> None:
    shares = evenly(11)
    line = tuple(0.2 + 0.4 * share for share in shares)
    assert BackfillCurve(shares, line, old=0.2, new=0.6).gain == pytest.approx(0.5)


def test_map_is_over_the_full_ranking_and_hit_rates_over_its_top(systems) -> None:
    """Full-rank mAP against scikit-learn's; CMC@1 and CMC@5 against a loop."""
    _, new, relevance = systems
    ranks = rank_scores(new, relevance)
    values = average_precision(ranks)
    for query in range(QUERIES):
        wanted = np.isin(np.arange(ITEMS), relevance.of(query)[0])
        assert values[query] == pytest.approx(average_precision_score(wanted, new[query]), abs=1e-6)
        for k in (1, 5):
            top = np.argsort(-new[query], kind="stable")[:k]
            assert hit_rate(ranks, k)[query] == wanted[top].any()


def test_a_query_that_is_in_the_gallery_does_not_find_itself() -> None:
    data = load_digits()
    vectors = data.data[:80] / np.linalg.norm(data.data[:80], axis=1, keepdims=True)
    scores, relevance = vectors @ vectors.T, same_label(data.target[:80], data.target[:80])
    own = np.arange(80)
    order = {"random": random_order(80, seed=0)}
    stages = evaluate_backfill(naive(scores, scores), relevance, order, evenly(3), exclude=own)
    expected = []
    for query in range(80):
        others = np.delete(own, query)
        wanted = data.target[others] == data.target[query]
        expected.append(average_precision_score(wanted, scores[query, others]))
    for point in stages["random"].points:
        np.testing.assert_allclose(point.average_precision, expected, atol=1e-6)


def test_areas_are_those_of_trapezoids_and_of_the_plain_mean(systems) -> None:
    """AUC_t and AUC_m, which differ by ((M_0 + M_K) / 2 - AUC_t) / (K + 1)."""
    old, new, relevance = systems
    alone = [evaluate_side(lambda rows, s=s: s[rows], relevance).mean for s in (old, new)]
    curve = stages_of(old, new, relevance).curve(old=alone[0], new=alone[1])
    values = curve.values
    trapezoids = sum((a + b) / 2 for a, b in pairwise(values)) / 10
    assert curve.auc == pytest.approx(trapezoids)
    assert curve.auc_m == pytest.approx(sum(values) / 11)
    assert curve.auc_m - curve.auc == pytest.approx(((values[0] + values[-1]) / 2 - curve.auc) / 11)


def test_flips_are_queries_right_before_and_wrong_now(systems) -> None:
    old, new, relevance = systems
    stages = stages_of(old, new, relevance, points=5)
    for step in range(1, 5):
        before, now = stages.points[step - 1].right, stages.points[step].right
        flipped = [a and not b for a, b in zip(before, now, strict=True)]
        assert stages.flips[step] == pytest.approx(sum(flipped) / len(flipped))
