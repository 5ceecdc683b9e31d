"""What the two halves of an upgrade share."""

from __future__ import annotations

from hotfill.upgrade.state import SearchTimes


def test_the_recent_latency_forgets_after_a_minute():
    now = [0.0]
    times = SearchTimes(clock=lambda: now[0])
    assert times.recent_milliseconds(99) == 0
    times.searched(2.0)
    assert times.recent_milliseconds(99) == 2000
    now[0] = 61.0
    assert times.recent_milliseconds(99) == 0
