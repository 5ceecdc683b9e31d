from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfill.errors import InputError, ShapeError
from hotfill.rehearsal.orders import (
    check_order,
    highest_first,
    random_order,
)
from hotfill.upgrade.order import popularity_times_uncertainty


@given(st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_a_random_order_is_a_permutation_and_the_same_for_the_same_seed(items, seed) -> None:
    order = random_order(items, seed=seed)
    assert sorted(order.tolist()) == list(range(items))
    np.testing.assert_array_equal(order, random_order(items, seed=seed))


@given(st.lists(st.sampled_from([0.0, 0.5, 2.0, -1.0]), max_size=30))
def test_the_highest_value_comes_first(values) -> None:
    order = highest_first(values, seed=3)
    assert sorted(order.tolist()) == list(range(len(values)))
    assert [values[item] for item in order] == sorted(values, reverse=True)


def test_equal_values_come_in_random_order() -> None:
    order = highest_first(np.zeros(100), seed=1)
    assert order.tolist() != list(range(100))
    assert order.tolist() != highest_first(np.zeros(100), seed=2).tolist()


def test_popular_and_uncertain_items_come_first() -> None:
    popularity, doubt = np.array([0, 9, 0, 9]), np.array([0.1, 0.1, 0.2, 0.3])
    urgency = popularity_times_uncertainty(popularity, doubt, np.sort(doubt))
    assert highest_first(urgency, seed=0).tolist() == [3, 1, 2, 0]


def test_bad_values_are_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        highest_first([1.0, np.nan], seed=0)
    with pytest.raises(ShapeError, match="one value per item"):
        highest_first([[1.0]], seed=0)


@pytest.mark.parametrize("order", [[0, 0], [0], [0.0, 1.0], [1, 2]])
def test_an_order_holds_every_item_once(order) -> None:
    with pytest.raises(InputError, match=r"each of 0 \.\. 1 once"):
        check_order(order, 2)
