"""Hit rate, recall, average precision and ndcg against loops over sorted lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, ndcg_score

from hotfill.errors import InputError
from hotfill.metrics import (
    average_precision,
    from_matrix,
    hit_rate,
    ndcg,
    rank_lists,
    rank_scores,
    recall,
)
from tests.unit.metrics import oracle


@st.composite
def problems(draw):
    """Scores with many ties, grades 0 to 3 and one left-out column per query."""
    shape = draw(st.tuples(st.integers(1, 5), st.integers(2, 9)))
    scores = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])))
    grades = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 3)))
    exclude = draw(hnp.arrays(np.int64, shape[0], elements=st.integers(-1, shape[1] - 1)))
    return scores, grades, exclude


def judged(scores, grades, exclude):
    """(ranked positions, {position: grade}) of every query that has a relevant item."""
    for row, grade, left_out in zip(scores, grades, exclude, strict=True):
        wanted = {i: int(g) for i, g in enumerate(grade) if g > 0 and i != left_out}
        if wanted:
            yield oracle.ranking(row.tolist(), left_out), wanted


@settings(max_examples=200, deadline=None)
@given(problems(), st.integers(1, 12))
def test_every_metric_of_a_score_matrix_equals_its_loop(problem, k) -> None:
    scores, grades, exclude = problem
    expected = list(judged(scores, grades, exclude))
    ranks = rank_scores(scores, from_matrix(grades), exclude=exclude, allow_none=True)

    assert ranks.skipped == len(scores) - len(expected)
    for computed, slow in [
        (hit_rate(ranks, k), [oracle.hit_rate(*pair, k) for pair in expected]),
        (recall(ranks, k), [oracle.recall(*pair, k) for pair in expected]),
        (average_precision(ranks), [oracle.average_precision(*pair) for pair in expected]),
        (average_precision(ranks, k), [oracle.average_precision(*pair, k) for pair in expected]),
        (ndcg(ranks, k), [oracle.ndcg(*pair, k) for pair in expected]),
    ]:
        np.testing.assert_allclose(computed, slow, rtol=1e-12, atol=0)


@settings(max_examples=200, deadline=None)
@given(problems(), st.integers(1, 12))
def test_result_lists_give_what_the_score_matrix_gives(problem, k) -> None:
    scores, grades, exclude = problem
    expected = list(judged(scores, grades, exclude))
    if not expected:
        return
    whole = rank_lists([found for found, _ in expected], [wanted for _, wanted in expected])
    matrix = rank_scores(scores, from_matrix(grades), exclude=exclude)
    np.testing.assert_array_equal(whole.ranks, matrix.ranks)
    assert ndcg(whole, k) == pytest.approx(ndcg(matrix, k))


def test_short_lists_count_what_they_do_not_hold_as_not_found() -> None:
    ranks = rank_lists([["b", "a"], []], [{"a", "z"}, {"q"}])
    assert average_precision(ranks).tolist() == [0.25, 0.0]
    assert recall(ranks, 10).tolist() == [0.5, 0.0]
    assert hit_rate(ranks, 1).tolist() == [False, False]
    assert ndcg(ranks, 10)[1] == 0.0


def test_a_worked_example() -> None:
    # relevant at ranks 1, 3 and 4 of five: (1/1 + 2/3 + 3/4) / 3
    ranks = rank_scores([[0.9, 0.1, 0.5, 0.3, 0.7]], from_matrix([[1, 0, 1, 1, 0]]))
    assert ranks.ranks.tolist() == [1, 3, 4]
    assert average_precision(ranks)[0] == pytest.approx(29 / 36)
    assert average_precision(ranks, 3)[0] == pytest.approx((1 + 2 / 3) / 3)
    assert recall(ranks, 3)[0] == pytest.approx(2 / 3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_without_ties_scikit_learn_agrees(seed, k) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(60).reshape(3, 20) / 60.0
    grades = rng.integers(0, 4, (3, 20))
    grades[:, 0] = 1
    ranks = rank_scores(scores, from_matrix(grades))
    np.testing.assert_allclose(
        average_precision(ranks),
        [average_precision_score(g > 0, s) for g, s in zip(grades, scores, strict=True)],
    )
    assert ndcg(ranks, k).mean() == pytest.approx(ndcg_score(grades, scores, k=k))


def test_a_perfect_ranking_scores_one_everywhere() -> None:
    grades = np.array([[3, 2, 1, 0, 0], [1, 1, 0, 0, 0]])
    ranks = rank_scores(-np.arange(10.0).reshape(2, 5), from_matrix(grades))
    for values in (average_precision(ranks), ndcg(ranks, 3), recall(ranks, 3), hit_rate(ranks, 1)):
        assert values.tolist() == [1, 1]


def test_scores_of_any_monotone_scale_rank_alike() -> None:
    rng = np.random.default_rng(0)
    scores, grades = rng.normal(size=(4, 30)), rng.integers(0, 2, (4, 30))
    plain = rank_scores(scores, from_matrix(grades))
    np.testing.assert_array_equal(
        plain.ranks, rank_scores(np.exp(scores) * 7, from_matrix(grades)).ranks
    )


def test_whole_numbers_are_scores_too() -> None:
    scores = np.array([[0, 1, 2]], dtype=np.uint8)
    assert rank_scores(scores, from_matrix([[1, 0, 1]])).ranks.tolist() == [1, 3]


@pytest.mark.parametrize("metric", [hit_rate, recall, average_precision, ndcg])
def test_a_cut_below_one_is_refused(metric) -> None:
    ranks = rank_lists([["a"]], [{"a"}])
    with pytest.raises(InputError, match="must be >= 1, got 0"):
        metric(ranks, 0)
