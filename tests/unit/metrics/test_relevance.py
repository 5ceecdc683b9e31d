"""All ways to say what is relevant mean the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfill.errors import DuplicateItemError, InputError, ShapeError
from hotfill.metrics import from_lists, from_matrix, from_qrels, same_label


def as_matrix(relevance):
    matrix = np.zeros((len(relevance), relevance.gallery))
    for query in range(len(relevance)):
        columns, grades = relevance.of(query)
        matrix[query, columns] = grades
    return matrix


@settings(deadline=None)
@given(
    st.lists(st.integers(-2, 2), min_size=1, max_size=8),
    st.lists(st.integers(-2, 2), min_size=1, max_size=8),
)
def test_labels_mean_the_matrix_of_equal_labels(queries, gallery) -> None:
    expected = np.equal.outer(np.array(queries), np.array(gallery))
    np.testing.assert_array_equal(as_matrix(same_label(queries, gallery)), expected)


def test_labels_may_be_texts() -> None:
    assert as_matrix(same_label(["a", "c"], ["b", "a"])).tolist() == [[0, 1], [0, 0]]


def test_a_matrix_keeps_its_grades() -> None:
    matrix = [[0, 2, 0.5], [0, 0, 0]]
    np.testing.assert_array_equal(as_matrix(from_matrix(matrix)), matrix)
    assert not from_matrix(matrix).binary
    assert from_matrix(np.array(matrix) > 0).binary


def test_lists_mean_their_matrix() -> None:
    relevance = from_lists([[2, 0], [], [1]], 3, grades=[[1, 3], [], [0]])
    assert as_matrix(relevance).tolist() == [[3, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert as_matrix(from_lists([[], []], 2)).tolist() == [[0, 0], [0, 0]]


def test_judgements_by_name_leave_out_what_the_gallery_does_not_hold() -> None:
    qrels = {"q1": {"a": 2, "gone": 1, "b": 0}, "elsewhere": {"a": 1}}
    relevance = from_qrels(qrels, ["q0", "q1"], ["b", "a"])
    assert as_matrix(relevance).tolist() == [[0, 0], [0, 2]]


def test_taking_queries_keeps_the_gallery() -> None:
    relevance = same_label([0, 1, 2], [2, 1, 1])
    assert as_matrix(relevance.take(np.array([2, 1]))).tolist() == [[1, 0, 0], [0, 1, 1]]
    assert as_matrix(relevance.take(slice(0, 2))).tolist() == [[0, 0, 0], [0, 1, 1]]


def test_bad_relevance_is_refused() -> None:
    with pytest.raises(ShapeError, match="relevance matrix"):
        from_matrix([1, 0])
    with pytest.raises(InputError, match="finite numbers >= 0"):
        from_matrix([[1.0, -1.0]])
    with pytest.raises(InputError, match=r"positions 0 \.\. 2"):
        from_lists([[3]], 3)
    with pytest.raises(InputError, match="stands twice"):
        from_lists([[1, 1]], 3)
    with pytest.raises(ShapeError, match="one grade per relevant item"):
        from_lists([[1]], 3, grades=[[1, 2]])
    with pytest.raises(InputError, match="expected numbers like int64"):
        from_lists([[0.5]], 3)
    with pytest.raises(InputError, match="integers or texts"):
        same_label([0.5], [1])
    with pytest.raises(InputError, match="one kind"):
        same_label(["1"], [1])
    with pytest.raises(ShapeError, match="gallery labels"):
        same_label([1], [[1]])
    with pytest.raises(DuplicateItemError):
        from_qrels({}, ["q"], ["a", "a"])
