"""The watch counts what the store holds, and how fast that changes."""

from __future__ import annotations

import pytest

from hotfill.service.snapshot import Watch
from tests.unit.cli.project import ITEMS


@pytest.fixture
def clock():
    return [1_700_000_000.0]


@pytest.fixture
def watch(client, clock):
    """A watch that looks when it is told to, at the time it is told."""
    parts = client.app.state.service
    return Watch(
        parts.gallery, parts.journal, parts.plan, parts.steps, parts.measures, lambda: clock[0]
    )


def test_coverage_and_rates_follow_the_upgrade(client, watch, clock):
    before = watch.refresh()
    assert (before.old_items, before.new_items, before.coverage) == (ITEMS, 0, 0.0)
    client.do("start")
    clock[0] += 4.0
    after = watch.refresh()
    assert (after.old_items, after.new_items, after.coverage) == (0, ITEMS, 1.0)
    assert after.number > before.number
    for what in ("embedded", "written", "visible"):
        assert getattr(after.rates[-1], what) == pytest.approx(ITEMS / 4.0)
    clock[0] += 60.0
    watch.refresh()
    clock[0] += 1.0
    assert watch.refresh().rates[-1].written == 0


def test_going_back_is_no_negative_rate(client, watch, clock):
    client.do("start")
    clock[0] += 2.0
    watch.refresh()
    client.do("abort")
    clock[0] += 2.0
    seen = watch.refresh()
    assert seen.new_items == 0
    assert seen.rates[-1].visible == 0


def test_facts_verification_and_dead_letters_are_seen(client, watch):
    client.do("start")
    client.do("verify")
    seen = watch.refresh()
    assert seen.verified.body["passed"]
    assert seen.facts[-1].kind == "verified"
    assert seen.dead_letters == ()
