from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfill.errors import InputError, ShapeError
from hotfill.ranking import RankedHits, SideHits, rank_merge


def side(*hits: tuple[str, float]) -> SideHits:
    scores = np.array([score for _, score in hits], np.float32)
    return SideHits([name for name, _ in hits], scores, scores / 2)


def slow_merge(sides: list[SideHits], k: int) -> list[tuple[str, int]]:
    """Walk over every hit, drop what a newer side holds, sort by the written rule."""
    rows = []
    for number, one in enumerate(sides):
        rank = 0
        for item_id, score in zip(one.item_ids, one.scores, strict=True):
            if any(item_id in newer.item_ids for newer in sides[number + 1 :]):
                continue
            rows.append((-float(score), rank, item_id, number))
            rank += 1
    return [(item_id, number) for _, _, item_id, number in sorted(rows)[:k]]


def plain(hits: RankedHits) -> list[tuple[str, int]]:
    return list(zip(hits.item_ids, hits.sides.tolist(), strict=True))


@st.composite
def several_sides(draw: st.DrawFn) -> list[SideHits]:
    sides = []
    for _ in range(draw(st.integers(1, 3))):
        names = draw(st.lists(st.sampled_from("abcdefghij"), unique=True, max_size=8))
        scores = draw(st.lists(st.integers(0, 4), min_size=len(names), max_size=len(names)))
        ordered = sorted(scores, reverse=True)
        sides.append(side(*zip(names, ordered, strict=True)))
    return sides


@given(several_sides(), st.integers(1, 12))
def test_a_merge_equals_the_slow_one(sides: list[SideHits], k: int) -> None:
    assert plain(rank_merge(sides, k)) == slow_merge(sides, k)


@given(several_sides(), st.integers(1, 12))
def test_no_item_comes_twice_and_scores_never_rise(sides: list[SideHits], k: int) -> None:
    hits = rank_merge(sides, k)
    assert len(set(hits.item_ids)) == len(hits) <= k
    assert np.all(np.diff(hits.scores) <= 0)
    np.testing.assert_array_equal(hits.raw_scores, hits.scores / 2)


def test_the_k_best_of_each_side_are_enough() -> None:
    rng = np.random.default_rng(0)
    full = []
    for name in "on":
        scores = np.sort(rng.normal(size=50).astype(np.float32))[::-1]
        full.append(side(*[(f"{name}{row}", score) for row, score in enumerate(scores)]))
    cut = [SideHits(one.item_ids[:10], one.scores[:10], one.raw_scores[:10]) for one in full]
    assert plain(rank_merge(full, 10)) == plain(rank_merge(cut, 10))


def test_an_item_in_transit_counts_on_the_newest_side_only() -> None:
    hits = rank_merge([side(("a", 9), ("b", 5)), side(("a", 1)), side(("c", 3))], 10)
    assert plain(hits) == [("b", 0), ("c", 2), ("a", 1)]


def test_equal_scores_favour_no_side() -> None:
    old = side(("z", 1), ("a", 1))
    new = side(("y", 1), ("b", 1))
    assert rank_merge([old, new], 4).item_ids == ("y", "z", "a", "b")
    assert rank_merge([new, old], 4).item_ids == ("y", "z", "a", "b")


def test_an_empty_side_is_no_trouble() -> None:
    assert plain(rank_merge([side(), side(("a", 1))], 3)) == [("a", 1)]
    assert len(rank_merge([side(), side()], 3)) == 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="k >= 1"):
        rank_merge([side(("a", 1))], 0)
    with pytest.raises(InputError, match="at least one side"):
        rank_merge([], 3)
    with pytest.raises(InputError, match="NaN"):
        rank_merge([side(("a", float("nan")))], 3)
    with pytest.raises(ShapeError, match="2 items came with 1"):
        rank_merge([SideHits(["a", "b"], np.float32([1]), np.float32([1]))], 3)
