"""What comes in is named precisely, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hotfill.checks import check_ids, check_vectors, is_unit
from hotfill.errors import DuplicateItemError, ShapeError, VectorError

number = st.floats(width=32, allow_nan=True, allow_infinity=True)


def usable(row):
    """Say it slowly: every number finite, some not zero, and no overflow in the squared length."""
    total = 0.0
    for value in row.tolist():
        total += value * value
    return np.isfinite(total) and 1e-36 < total < 1e36


@settings(deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(0, 6), st.just(3)), elements=number))
def test_exactly_the_rows_that_cannot_be_used_are_named(rows):
    extreme = [np.isfinite(row).all() and row.any() and not usable(row) for row in rows]
    rows = rows[~np.array(extreme, dtype=bool)]  # at the rim of float32 either answer is right
    bad = [f"row {i}" for i, row in enumerate(rows) if not usable(row)]
    if bad:
        with pytest.raises(VectorError) as caught:
            check_vectors(rows, 3)
        assert caught.value.item_ids == tuple(bad)
    else:
        np.testing.assert_array_equal(check_vectors(rows, 3), rows)


def test_bad_rows_are_named_by_their_item_ids():
    rows = np.ones((3, 2))
    rows[1] = np.nan
    with pytest.raises(VectorError, match=r"the queries: 1 of 3 hold NaN.*: beta; nothing was"):
        check_vectors(rows, 2, item_ids=["alpha", "beta", "gamma"], what="the queries")


def test_of_many_bad_rows_five_are_shown_and_all_counted():
    with pytest.raises(VectorError, match=r"7 of 7.*row 4 and 2 more") as caught:
        check_vectors(np.zeros((7, 2)), 2)
    assert len(caught.value.item_ids) == 7


@pytest.mark.parametrize("shape", [(4,), (2, 5), (2, 3, 4), ()])
def test_another_shape_is_refused(shape):
    with pytest.raises(ShapeError, match=r"expected shape \(n, 4\)"):
        check_vectors(np.ones(shape), 4)


def test_another_number_of_rows_than_items_is_refused():
    with pytest.raises(ShapeError, match=r"one row per item \(3\), got 2"):
        check_vectors(np.ones((2, 4)), 4, item_ids=["a", "b", "c"])


def test_lists_other_numbers_and_strides_become_contiguous_float32():
    wide = np.arange(1, 25, dtype=np.float64).reshape(4, 6)[:, ::2]
    for given_ in (wide, wide.tolist(), wide.astype(np.int64)):
        ready = check_vectors(given_, 3)
        assert ready.dtype == np.float32
        assert ready.flags["C_CONTIGUOUS"]
        np.testing.assert_array_equal(ready, wide)


@pytest.mark.parametrize("rows", [[["a", "b"]], [[1.0, 2.0], [3.0]], [[{}, 1.0]]])
def test_what_is_no_table_of_numbers_is_refused(rows):
    with pytest.raises(ShapeError, match="expected a table of numbers"):
        check_vectors(rows, 2)


def test_no_rows_are_fine():
    assert check_vectors(np.empty((0, 4)), 4).shape == (0, 4)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcd"), max_size=6))
def test_an_id_that_comes_twice_is_named_once(item_ids):
    twice = sorted({each for each in item_ids if item_ids.count(each) > 1})
    if not twice:
        check_ids(item_ids)
        return
    with pytest.raises(DuplicateItemError) as caught:
        check_ids(item_ids)
    assert sorted(caught.value.item_ids) == twice


@pytest.mark.parametrize("item_id", ["", 5, None, b"a"])
def test_an_id_is_a_text_that_is_not_empty(item_id):
    with pytest.raises(ShapeError, match="non-empty text"):
        check_ids(["a", item_id])


def test_unit_length_is_a_matter_of_a_thousandth():
    row = np.array([[0.6, 0.8]], np.float32)
    assert is_unit(row)
    assert is_unit(row * 1.0009)
    assert not is_unit(row * 1.002)
    assert not is_unit(np.concatenate([row, row * 2]))
