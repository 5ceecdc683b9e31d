"""What comes in is named precisely, or refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hotfill.errors import ModelMismatchError, ShapeError, VectorError
from hotfill.types import ModelId
from hotfill.vectors import check_vectors, checked, unit

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


@pytest.mark.parametrize(
    "rows", [np.ones((1, 2), bool), np.ones((1, 2), complex), np.ones((1, 2), object)]
)
def test_numbers_that_are_not_real_are_refused(rows):
    with pytest.raises(ShapeError, match=f"expected a table of numbers, got.*{rows.dtype}"):
        check_vectors(rows, 2)


def test_a_tensor_that_numpy_cannot_read_is_refused_with_what_to_do():
    torch = pytest.importorskip("torch")
    for tensor in (torch.ones(1, 2, dtype=torch.bfloat16), torch.ones(1, 2, requires_grad=True)):
        with pytest.raises(ShapeError, match=r"tensor\.detach\(\)\.float\(\)\.cpu\(\)"):
            check_vectors(tensor, 2)
        ready = check_vectors(tensor.detach().float().cpu(), 2)
        np.testing.assert_array_equal(ready, np.ones((1, 2)))


def test_a_copy_shares_no_memory_with_a_buffer_that_is_filled_again():
    buffer = np.ones((4, 2), np.float32)
    kept = check_vectors(buffer[:2], 2, copy=True)
    buffer[:] = 7
    np.testing.assert_array_equal(kept, np.ones((2, 2)))


COSINE, DOT = ModelId("m", "1", 3), ModelId("m", "1", 3, metric="dot", normalised=False)


@settings(deadline=None)
@given(
    arrays(
        np.float32, st.tuples(st.integers(0, 6), st.just(3)), elements=st.floats(-9, 9, width=32)
    )
)
def test_checked_vectors_are_of_unit_length_exactly_where_the_cosine_compares(rows):
    rows = rows[[usable(row) for row in rows]]
    for vectors, length in ((checked(rows, COSINE), 1.0), (checked(rows, DOT), None)):
        for row, given_row in zip(vectors.rows, rows, strict=True):
            true = math.sqrt(sum(float(value) ** 2 for value in given_row))
            factor = 1.0 if length is None else length / true
            np.testing.assert_allclose(row, given_row * factor, rtol=1e-6, atol=1e-30)


def test_what_was_checked_is_not_looked_at_again():
    once = checked(np.ones((2, 3)), COSINE)
    assert checked(once, COSINE) is once
    with pytest.raises(ModelMismatchError, match="metric"):
        checked(once, DOT)
    with pytest.raises(ShapeError, match="one row per item"):
        checked(once, COSINE, item_ids=["a"])


def test_unit_keeps_zeros_and_the_precision():
    rows = np.array([[3.0, 4.0], [0.0, 0.0], [1e30, 0.0]])
    expected = [[0.6, 0.8], [0.0, 0.0], [1.0, 0.0]]
    for kind in (np.float16, np.float32, np.float64):
        made = unit(rows.clip(max=6e4).astype(kind))
        assert made.dtype == (np.float64 if kind == np.float64 else np.float32)
        np.testing.assert_allclose(made, expected, rtol=1e-6)
