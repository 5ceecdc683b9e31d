"""Reading ahead changes when things happen, and nothing else."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfill.upgrade.backfill import prefetched


def threads():
    return [each for each in threading.enumerate() if each.name == "hotfill-prefetch"]


@given(st.lists(st.integers()), st.integers(1, 4))
def test_what_comes_out_is_what_went_in(items, depth):
    assert list(prefetched(items, depth)) == items


@given(st.integers(0, 6), st.integers(1, 3))
def test_an_error_is_raised_after_the_items_before_it(before, depth):
    def items():
        yield from range(before)
        raise KeyError("later")

    seen: list[int] = []
    with pytest.raises(KeyError, match="later"):
        seen.extend(prefetched(items(), depth))
    assert seen == list(range(before))
    assert threads() == []


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_it_runs_ahead_by_no_more_than_its_depth_and_the_one_in_hand(depth):
    made, moved = [], threading.Condition()

    def items():
        for number in range(50):
            with moved:
                made.append(number)
                moved.notify_all()
            yield number

    taken = prefetched(items(), depth)
    for count in range(1, 11):
        next(taken)
        with moved:  # it does get that far ...
            assert moved.wait_for(lambda n=count: len(made) >= n + depth + 1, timeout=20)
        threading.Event().wait(0.01)
        assert len(made) <= count + depth + 1  # ... and no further
    taken.close()


def test_stopping_early_closes_the_producer_and_leaves_no_thread():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    taken = prefetched(items())
    assert next(taken) == 1
    assert len(threads()) == 1
    taken.close()
    assert closed.is_set()
    assert threads() == []


def test_a_chain_of_two_is_closed_to_its_beginning():
    closed = threading.Event()

    def numbers():
        try:
            yield from range(10**9)
        finally:
            closed.set()

    def doubled(items):
        for item in items:
            yield 2 * item

    taken = prefetched(doubled(prefetched(numbers())))
    assert [next(taken) for _ in range(3)] == [0, 2, 4]
    assert len(threads()) == 2
    taken.close()
    assert closed.is_set()
    assert threads() == []


def test_an_error_of_the_consumer_stops_the_producer():
    def consume():
        for item in prefetched(iter(range(10**9))):
            1 // item

    with pytest.raises(ZeroDivisionError):
        consume()
    assert threads() == []


def test_nothing_is_begun_before_the_first_item_is_asked_for():
    def items():
        raise AssertionError("begun")
        yield

    prefetched(items()).close()
    assert threads() == []
