"""Which items come first: by chance, by a number, by doubt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfill.errors import ConfigError
from hotfill.stores.base import Page
from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade.order import (
    PopularityOrder,
    PopularityUncertaintyOrder,
    PriorityOrder,
    RandomOrder,
    UncertaintyOrder,
    pages_of,
    read_query_log,
)
from tests.unit.upgrade.small import OLD, contents, filled

item_ids = st.lists(st.text(min_size=1), unique=True, max_size=30)


def page(ids):
    return Page(tuple(ids), np.zeros(len(ids), np.int64), ("x",) * len(ids), None)


def ordered(ranks, ids):
    return [name for _, name in sorted(zip(ranks.tolist(), ids, strict=True))]


@given(item_ids, st.integers(-(2**63), 2**63 - 1))
def test_a_random_order_gives_each_item_a_rank_of_its_own_whatever_page_it_stands_on(ids, seed):
    order = RandomOrder(seed)
    together = order(MemoryGallery(), page(ids))
    assert together.shape == (len(ids),)
    assert together.dtype == np.float64
    alone = [order(MemoryGallery(), page([name]))[0] for name in ids]
    assert together.tolist() == alone
    assert sorted(ordered(together, ids)) == sorted(ids)


def test_a_random_order_is_another_one_for_another_seed_and_for_no_other_reason():
    ids = [f"item-{i}" for i in range(200)]
    first = ordered(RandomOrder(1)(filled(contents(3)), page(ids)), ids)
    again = ordered(RandomOrder(1)(MemoryGallery(), page(ids[::-1])), ids[::-1])
    other = ordered(RandomOrder(2)(MemoryGallery(), page(ids)), ids)
    assert first == again
    assert first != other
    assert first != ids


def test_a_random_order_favours_no_part_of_the_ids():
    ids = [f"item-{i:05}" for i in range(4000)]
    early = ordered(RandomOrder(0)(MemoryGallery(), page(ids)), ids)[:1000]
    # 4 standard deviations of a hypergeometric draw, which is below a normal 4 * sqrt(187).
    assert abs(sum(name < "item-02000" for name in early) - 500) < 55


def test_priority_is_highest_first_and_items_without_a_number_come_last():
    gallery = filled(contents(6))
    values = [3, 10.5, None, "high", -2, 2**62]
    ids = [f"item-{i:05}" for i in range(6)]
    gallery.set_metadata(ids, [{} if v is None else {"views": v} for v in values])
    ranks = PriorityOrder("views")(gallery, page([*ids, "gone"]))
    assert ordered(ranks, [*ids, "gone"]) == [
        ids[5],
        ids[1],
        ids[0],
        ids[4],
        "gone",
        ids[2],
        ids[3],
    ]


def test_the_least_certain_items_come_first():
    gallery = filled(contents(20))
    ids = [f"item-{i:05}" for i in range(20)]
    doubt = dict(zip(ids, gallery.vectors(ids, OLD).vectors[:, 0], strict=True))
    ranks = UncertaintyOrder(OLD, lambda vectors: vectors[:, 0])(gallery, page(ids))
    assert ordered(ranks, ids) == sorted(ids, key=lambda name: -doubt[name])


def test_an_item_that_vanished_meanwhile_has_a_rank_too():
    gallery = filled(contents(3))
    order = UncertaintyOrder(OLD, lambda vectors: vectors[:, 0])
    assert order(gallery, page(["gone", "item-00000"]))[0] == 0.0
    assert order(gallery, page(["gone"])).tolist() == [0.0]


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
@pytest.mark.parametrize("items", [0, 1, 7, 9])
def test_a_walk_meets_every_item_once_on_pages_that_are_never_empty(items, limit):
    source = contents(items)
    gallery = filled(source) if items else MemoryGallery(OLD)
    pages = [each.item_ids for each in pages_of(gallery, OLD, limit)]
    assert [name for each in pages for name in each] == sorted(source)
    assert all(0 < len(each) <= limit for each in pages)


def test_what_searches_returned_most_often_goes_first(tmp_path):
    (tmp_path / "hits.txt").write_text("b\na\nb\n\nc\nb\na\n")
    ranks = PopularityOrder(read_query_log(tmp_path / "hits.txt"))(MemoryGallery(OLD), page("zcab"))
    assert ordered(ranks, "zcab") == ["b", "a", "c", "z"]


def test_popularity_times_doubt_equals_the_plain_product():
    gallery = filled(contents(30))
    ids = [f"item-{i:05}" for i in range(30)]
    returned = {name: int(name[-1]) for name in ids}
    uncertain = UncertaintyOrder(OLD, lambda vectors: vectors[:, 0])
    doubts = gallery.vectors(ids, OLD).vectors[:, 0]
    order = PopularityUncertaintyOrder(PopularityOrder(returned), uncertain, np.sort(doubts))
    expected = [
        (1 + returned[name]) * (sum(other < doubt for other in doubts) + 1) / 30
        for name, doubt in zip(ids, doubts, strict=True)
    ]
    np.testing.assert_allclose(-order(gallery, page(ids)), expected)


def test_a_query_log_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.txt: cannot be read"):
        read_query_log(tmp_path / "nothing.txt")
