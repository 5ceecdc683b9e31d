"""Scores that differ by rounding only are equal, and a key orders them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfill.ties import NOISE, best_first, tied, tolerance

# Multiples of half a tolerance, so that ties and chains of near ties are common.
scores_with_ties = st.lists(st.integers(-30, 30), max_size=12).map(
    lambda steps: np.array([1.0, *(1 - step * NOISE / 2 for step in steps)], np.float32)
)


def slow_order(scores, keys, within):
    """Take the best that is left, and with it all that are equal to it; then again."""
    left, order = list(range(len(scores))), []
    while left:
        best = max(float(scores[row]) for row in left)
        equal = [row for row in left if best - float(scores[row]) <= within]
        order += sorted(equal, key=lambda row: keys[row])
        left = [row for row in left if row not in equal]
    return order


@settings(deadline=None)
@given(scores_with_ties, st.randoms())
def test_equal_scores_are_ordered_by_their_keys(scores, random):
    keys = random.sample(range(100), len(scores))
    order = best_first(scores, lambda rows: [keys[row] for row in rows])
    assert order.tolist() == slow_order(scores, keys, tolerance(scores))


@settings(deadline=None)
@given(scores_with_ties, st.randoms())
def test_the_order_of_the_input_and_noise_far_below_the_tolerance_do_not_matter(scores, random):
    scores = np.round(scores / NOISE / 3) * NOISE * 3  # equal, or clearly not
    keys = random.sample(range(100), len(scores))
    rows = random.sample(range(len(scores)), len(scores))
    noisy = (scores * [1 + random.uniform(-1e-7, 1e-7) for _ in scores]).astype(np.float32)
    found = best_first(scores.astype(np.float32), lambda some: [keys[row] for row in some])
    again = best_first(noisy[rows], lambda some: [keys[rows[place]] for place in some])
    assert [keys[row] for row in found] == [keys[rows[place]] for place in again]


def test_no_item_comes_before_one_that_is_better_by_more_than_the_tolerance():
    chain = np.arange(1, 0, -NOISE * 0.6).astype(np.float32)[:50]
    for run in tied(chain, NOISE):
        assert float(chain[run][0]) - float(chain[run][-1]) <= NOISE


def test_the_scale_of_scores_is_their_largest_but_for_cosines():
    scores = np.array([-300.0, -np.inf, 2.0], np.float32)
    assert tolerance(scores) == NOISE * 300
    assert tolerance(scores, "l2") == NOISE * 300
    assert tolerance(scores, "cosine") == NOISE
    assert tolerance(np.empty(0, np.float32)) == 0
