"""A half-backfilled gallery is measured exactly as a loop over its items would."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hotfill.errors import InputError
from hotfill.metrics import average_precision, hit_rate, ndcg, rank_lists, same_label
from hotfill.rehearsal import backfill_evaluation
from hotfill.rehearsal.backfill_evaluation import (
    evaluate_backfill,
    evaluate_side,
    evenly,
)
from hotfill.rehearsal.mixed_gallery import MixedGallery
from hotfill.rehearsal.orders import random_order


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def small():
    """120 digits, 40 of them queries; old model: half of the pixels. Naive merge of both."""
    digits = load_digits()
    new, labels = unit(digits.data[:120]), digits.target[:120]
    old = unit(digits.data[:120, :32])

    def sides(rows):
        return old[80:][rows] @ old[:80].T, new[80:][rows] @ new[:80].T

    relevance = same_label(labels[80:], labels[:80])
    return MixedGallery("naive_merge", "none", "none", sides), relevance, labels


def test_every_stage_equals_a_merge_of_two_ranked_lists(small) -> None:
    gallery, relevance, labels = small
    order = random_order(80, seed=1)
    stages = evaluate_backfill(gallery, relevance, {"random": order}, (0.0, 0.3, 1.0))["random"]
    old, new = gallery.sides(slice(None))
    for share, point in zip(stages.shares, stages.points, strict=True):
        moved = set(order[: int(share * 80)].tolist())
        lists = []
        for query in range(40):
            scored = [(-(new if item in moved else old)[query, item], item) for item in range(80)]
            lists.append([item for _, item in sorted(scored)])
        wanted = [set(np.flatnonzero(labels[:80] == label)) for label in labels[80:]]
        ranks = rank_lists(lists, wanted)
        np.testing.assert_allclose(point.average_precision, average_precision(ranks))
        np.testing.assert_array_equal(point.right, hit_rate(ranks, 1))
        np.testing.assert_allclose(point.ndcg, ndcg(ranks, 10))


def test_the_ends_are_exactly_the_old_and_the_new_system(small) -> None:
    gallery, relevance, _ = small
    stages = evaluate_backfill(gallery, relevance, {"r": random_order(80, seed=0)}, evenly(11))["r"]
    old = evaluate_side(lambda rows: gallery.sides(rows)[0], relevance)
    new = evaluate_side(lambda rows: gallery.sides(rows)[1], relevance)
    assert stages.points[0].mean == old.mean
    assert stages.points[-1].mean == new.mean
    curve = stages.curve(old=old.mean, new=new.mean, figure="ndcg@10")
    assert curve.end == 0
    assert curve.values[0] == curve.old


def test_identical_models_give_a_flat_curve_without_flips(small) -> None:
    gallery, relevance, _ = small

    def same(rows):
        return gallery.sides(rows)[1], gallery.sides(rows)[1]

    both = MixedGallery("naive_merge", "none", "none", same)
    stages = evaluate_backfill(both, relevance, {"r": random_order(80, seed=0)}, evenly(5))["r"]
    old = new = stages.points[0].mean
    curve = stages.curve(old=old, new=new)
    assert len(set(curve.values)) == 1
    assert curve.gain is None
    assert stages.flips == (0.0,) * 5


def test_flips_count_queries_against_the_stage_before(small) -> None:
    gallery, relevance, _ = small
    stages = evaluate_backfill(gallery, relevance, {"r": random_order(80, seed=0)}, evenly(6))["r"]
    for step in range(1, 6):
        before, now = stages.points[step - 1].right, stages.points[step].right
        expected = sum(a and not b for a, b in zip(before, now, strict=True)) / len(now)
        assert stages.flips[step] == pytest.approx(expected)


def test_the_size_of_query_chunks_changes_nothing(small, monkeypatch) -> None:
    gallery, relevance, _ = small
    orders = {"r": random_order(80, seed=0)}
    whole = evaluate_backfill(gallery, relevance, orders, evenly(3))["r"]
    monkeypatch.setattr(backfill_evaluation, "MAX_CHUNK_BYTES", 4 * 80 * 7)
    chunked = evaluate_backfill(gallery, relevance, orders, evenly(3))["r"]
    assert backfill_evaluation.chunks(40, 80)[-1] == slice(35, 40)
    for one, other in zip(whole.points, chunked.points, strict=True):
        np.testing.assert_allclose(one.average_precision, other.average_precision)


def test_queries_may_be_the_gallery_itself() -> None:
    digits = load_digits()
    vectors, labels = unit(digits.data[:90]), digits.target[:90]
    relevance = same_label(labels, labels)
    own = np.arange(90)
    figures = evaluate_side(lambda rows: vectors[rows] @ vectors.T, relevance, exclude=own)
    assert figures.mean.hit_rate_at_1 < 1
    assert evaluate_side(lambda rows: vectors[rows] @ vectors.T, relevance).mean.hit_rate_at_1 == 1


def test_bad_orders_and_too_few_points_are_refused(small) -> None:
    gallery, relevance, _ = small
    with pytest.raises(InputError, match=r"each of 0 \.\. 79 once"):
        evaluate_backfill(gallery, relevance, {"r": np.zeros(80, dtype=int)}, evenly(2))
    with pytest.raises(InputError, match="at least 2 points"):
        evenly(1)
    with pytest.raises(InputError, match="no query has a relevant item"):
        evaluate_side(
            lambda rows: gallery.sides(rows)[0],
            same_label(np.full(40, 99), np.zeros(80, dtype=int)),
        )
