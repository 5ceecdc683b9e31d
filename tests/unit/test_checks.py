"""Item ids are named precisely, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfill.checks import check_ids
from hotfill.errors import DuplicateItemError, ShapeError


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


def test_half_a_character_is_no_text():
    check_ids(["grün 😀"])
    with pytest.raises(ShapeError, match="valid Unicode"):
        check_ids(["a", "\ud83d"])


def test_one_text_is_no_sequence_of_ids():
    with pytest.raises(ShapeError, match="sequence of item ids"):
        check_ids("abc")


def test_an_id_may_come_twice_where_things_are_read():
    check_ids(["a", "a"], repeats=True)
