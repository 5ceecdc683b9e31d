"""A value that is swapped as a whole, and only when nobody uses the previous."""

from __future__ import annotations

import threading

import pytest

from hotfill.errors import HotfillError
from hotfill.upgrade.view import Switch


def test_users_keep_the_value_they_began_with():
    switch = Switch("old")
    with switch.use() as value:
        swapped = threading.Thread(target=switch.swap, args=("new",))
        swapped.start()
        while switch.value == "old":
            pass
        assert value == "old"
        with switch.use() as later:
            assert later == "new"
    swapped.join(5)
    assert not swapped.is_alive()


def test_a_swap_returns_only_when_the_former_value_is_out_of_use():
    switch = Switch(1)
    began, let_go, order = threading.Event(), threading.Event(), []

    def use():
        with switch.use():
            began.set()
            let_go.wait(5)
            order.append("used")

    user = threading.Thread(target=use)
    user.start()
    began.wait(5)
    swapper = threading.Thread(target=lambda: (switch.swap(2), order.append("swapped")))
    swapper.start()
    swapper.join(0.1)
    assert swapper.is_alive()
    let_go.set()
    user.join(5)
    swapper.join(5)
    assert order == ["used", "swapped"]


def test_a_swap_that_waits_too_long_says_so_and_has_swapped():
    switch = Switch(1)
    with switch.use():
        with pytest.raises(HotfillError, match="1 searches or writes that began before"):
            switch.swap(2, timeout_seconds=0.05)
        assert switch.value == 2


def test_a_user_that_fails_lets_go():
    switch = Switch(1)

    def fail():
        with switch.use():
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    switch.swap(2, timeout_seconds=0.05)


def test_swaps_in_a_row_wait_for_their_own_users_only():
    switch = Switch(0)
    with switch.use():
        first = threading.Thread(target=switch.swap, args=(1,))
        first.start()
        while switch.value != 1:
            pass
        switch.swap(2, timeout_seconds=0.05)  # nobody uses 1
    first.join(5)
    assert not first.is_alive()
