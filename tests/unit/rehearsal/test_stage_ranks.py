"""Ranks counted for all stages at once are those of sorting at each stage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfill.errors import InputError
from hotfill.metrics import from_matrix, rank_scores
from hotfill.rehearsal.stage_ranks import StageRanks

SHARES = (0.0, 0.2, 0.2, 0.55, 1.0)


def sorted_ranks(old, new, relevance, order, share, left_out):
    """Merge the two rows as the stage holds them, and rank the whole gallery."""
    moved = np.zeros(len(order), dtype=bool)
    moved[order[: int(share * len(order))]] = True
    merged = np.where(moved, new, old)[None]
    exclude = None if left_out < 0 else np.array([left_out])
    return rank_scores(merged, relevance, exclude=exclude, allow_none=True)


@st.composite
def cases(draw):
    """Scores of few levels, so that ties are everywhere; grades 0 to 2; perhaps an own item."""
    items = draw(st.integers(1, 25))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.integers(1, 60))
    old, new = random.integers(0, levels, (2, items)).astype(draw(st.sampled_from(["f4", "f8"])))
    if draw(st.booleans()):
        new = old.copy()  # identical models: every item ties with itself
    grades = random.integers(0, 3, (1, items)) * (random.random((1, items)) < 0.4)
    orders = [random.permutation(items) for _ in range(draw(st.integers(1, 3)))]
    return old, new, from_matrix(grades), orders, draw(st.integers(-1, items - 1))


@given(cases())
def test_counting_equals_sorting_at_every_stage(case) -> None:
    old, new, relevance, orders, left_out = case
    found = StageRanks(orders, SHARES, len(old)).of(old, new, relevance, 0, left_out)
    stages = [(order, share) for order in orders for share in SHARES]
    for row, (order, share) in enumerate(stages):
        expected = sorted_ranks(old, new, relevance, order, share, left_out)
        if not len(expected.judged):
            assert found is None
            continue
        stretch = slice(row * len(expected.ranks), (row + 1) * len(expected.ranks))
        np.testing.assert_array_equal(found.ranks[stretch], expected.ranks)
        np.testing.assert_array_equal(found.grades[stretch], expected.grades)
        assert found.starts[row] == stretch.start


def test_items_of_equal_score_on_both_sides_stand_in_the_order_of_the_gallery() -> None:
    scores = np.array([0.5, 0.5, 0.5, 0.5], dtype=np.float32)
    relevance = from_matrix([[0, 0, 1, 0]])
    found = StageRanks([np.array([3, 0, 2, 1])], (0.0, 0.5, 1.0), 4).of(
        scores, scores, relevance, 0, -1
    )
    assert found.ranks.tolist() == [3, 3, 3]


def test_a_query_left_with_nothing_relevant_has_no_ranks() -> None:
    relevance = from_matrix([[0, 1, 0]])
    counter = StageRanks([np.arange(3)], (0.0, 1.0), 3)
    assert counter.of(np.arange(3.0), np.arange(3.0), relevance, 0, 1) is None


def test_shares_that_descend_are_refused() -> None:
    with pytest.raises(InputError, match="ascend"):
        StageRanks([np.arange(3)], (0.0, 0.5, 0.4, 1.0), 3)
