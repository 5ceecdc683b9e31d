"""What the ranks refuse, and how they treat ties, the own item and queries without answer."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import InputError, ShapeError
from hotfill.metrics import average_precision, from_matrix, rank_lists, rank_scores, same_label


def test_of_equal_scores_the_earlier_item_ranks_first() -> None:
    assert rank_scores([[1.0, 1.0, 1.0]], from_matrix([[0, 0, 1]])).ranks.tolist() == [3]
    assert rank_scores([[1.0, 1.0, 1.0]], from_matrix([[1, 0, 0]])).ranks.tolist() == [1]


def test_a_query_leaves_its_own_item_out() -> None:
    scores = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
    ranks = rank_scores(scores, same_label([0, 0, 1], [0, 0, 1]), exclude=np.arange(3))
    assert ranks.judged.tolist() == [0, 1]
    assert ranks.skipped == 1  # the third query's only relevant item is itself
    assert average_precision(ranks).tolist() == [1.0, 1.0]


def test_excluding_equals_a_matrix_without_the_column() -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 5, (6, 8)) / 5.0
    labels, queries = rng.integers(0, 2, 8), rng.integers(0, 2, 6)
    for column in range(8):
        with_own = rank_scores(scores, same_label(queries, labels), exclude=np.full(6, column))
        without = rank_scores(
            np.delete(scores, column, axis=1), same_label(queries, np.delete(labels, column))
        )
        np.testing.assert_array_equal(with_own.ranks, without.ranks)


def test_queries_without_a_relevant_item_are_skipped_and_counted() -> None:
    ranks = rank_scores(np.zeros((3, 2)), same_label([5, 1, 6], [1, 1]))
    assert (ranks.queries, ranks.skipped, ranks.judged.tolist()) == (3, 2, [1])


def test_where_no_query_has_a_relevant_item_there_is_an_error() -> None:
    with pytest.raises(InputError, match="none of 2 queries has a relevant item"):
        rank_scores(np.zeros((2, 2)), same_label([5, 6], [1, 1]))
    with pytest.raises(InputError, match="none of 1 queries"):
        rank_lists([["a"]], [set()])


def test_scores_with_nan_are_refused() -> None:
    with pytest.raises(InputError, match="NaN"):
        rank_scores([[0.1, np.nan]], same_label([1], [1, 1]))


def test_infinite_scores_are_ranked() -> None:
    ranks = rank_scores([[-np.inf, 0.0, np.inf]], from_matrix([[1, 0, 1]]))
    assert ranks.ranks.tolist() == [1, 3]


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (2,)])
def test_scores_must_fit_the_relevance(shape) -> None:
    with pytest.raises(ShapeError, match=r"expected shape \(2, 2\)"):
        rank_scores(np.zeros(shape), same_label([1, 1], [1, 2]))


def test_excluded_columns_must_exist() -> None:
    relevance = same_label([1], [1, 2])
    with pytest.raises(InputError, match=r"-1 \.\. 1"):
        rank_scores(np.zeros((1, 2)), relevance, exclude=[2])
    with pytest.raises(ShapeError, match="exclude"):
        rank_scores(np.zeros((1, 2)), relevance, exclude=[0, 1])


def test_a_result_list_names_an_id_once() -> None:
    with pytest.raises(InputError, match="result list 1: an id stands twice"):
        rank_lists([["a"], ["b", "b"]], [{"a"}, {"b"}])


def test_result_lists_and_relevant_sets_come_in_pairs() -> None:
    with pytest.raises(ShapeError, match="each of 1 result lists, got 2"):
        rank_lists([["a"]], [{"a"}, {"b"}])
