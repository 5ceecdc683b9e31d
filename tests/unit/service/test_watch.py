"""The watch counts what the store holds, and how fast that changes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from hotfill.service.measures import HitsOfSearch, Measures
from hotfill.service.snapshot import Rates, Trail, Watch
from hotfill.service.web.phase_text import fact_text
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


def test_a_trail_spans_all_of_the_time_in_a_bounded_number_of_points():
    trail, taken = Trail(1.0), []
    for second in range(20_000):
        point = Rates(float(second), 0.0, 0.0, 0.0)
        if trail.note(point):
            taken.append(point)
        assert len(trail.points) <= 600
        assert trail.until(point)[-1] == point
    assert trail.points[0].at == 0.0
    assert len(taken) < 2500
    again = Trail(1.0)
    for point in taken:  # as a journal gives them back
        again.note(point)
    assert len(again.points) <= 600
    assert again.points[0].at == 0.0
    gaps = [after.at - before.at for before, after in pairwise(again.points)]
    assert max(gaps) <= 64.0
    assert again.points[-1] == taken[-1]


def test_what_the_charts_show_outlives_the_process(client, watch, clock):
    parts = client.app.state.service
    parts.watch.close()  # the service's own, at the real time
    assert list(parts.journal.facts("served")) == []  # nothing happened: nothing is noted
    for sides, seconds in (("old", 0.01), ("both", 0.03)):
        for _ in range(50):
            parts.measures.searched("backfilling", sides, seconds, 0.42, HitsOfSearch(4, 0, 6))
    client.do("start")
    watch.refresh()
    clock[0] += 20.0
    before = watch.refresh()
    watch.close()
    noted = list(parts.journal.facts("served"))
    watch.close()  # nothing new: nothing is noted
    assert list(parts.journal.facts("served")) == noted
    assert before.facts[-1].kind != "served"  # it is no news
    clock[0] += 3600.0
    measures = Measures(before=parts.journal.last("served").body["searches"])
    after = Watch(
        parts.gallery, parts.journal, parts.plan, parts.steps, measures, lambda: clock[0]
    ).latest
    assert after.latencies == before.latencies
    assert after.compositions == before.compositions
    assert after.rates[0].at == pytest.approx(before.at)
    assert after.rates[0].written == pytest.approx(before.rates[-1].written, abs=0.001)
    assert [each.at for each in after.recent_latencies] == [before.at]
    measures.searched("backfilling", "both", 0.05, 0.42, HitsOfSearch(new=10))
    both = {each.sides: each for each in measures.latencies()}["both"]
    assert (both.searches, both.p50_seconds) == (51, 0.05)
    (bin_,) = measures.compositions()
    assert bin_.hits == 510


def test_a_backfill_that_is_over_before_the_next_note_is_noted_when_it_rests(client, watch, clock):
    parts = client.app.state.service
    parts.watch.close()

    def look():
        watch.refresh()
        watch._tell(watch.latest)  # as every second
        return [each.body for each in parts.journal.facts("served")]

    parts.measures.searched("planned", "old", 0.01, 0.4, HitsOfSearch(10, 0, 0))
    (first,) = look()
    assert not any(first["rates"])
    client.do("start")
    clock[0] += 2.0
    assert look() == [first]  # too soon for another
    moved = watch.latest.rates[-1]
    clock[0] += 60.0
    look()
    clock[0] += 1.0
    _, second = look()
    assert second["at"] == moved.at
    assert second["rates"] == pytest.approx(list(moved[1:]), abs=0.001)
    watch.close()
    assert len(list(parts.journal.facts("served"))) == 2


def test_a_backfill_of_a_moment_just_before_the_end_of_a_process_is_remembered(
    client, watch, clock
):
    parts = client.app.state.service
    parts.watch.close()
    parts.measures.searched("planned", "old", 0.01, 0.4, HitsOfSearch(10, 0, 0))
    clock[0] += 1.0
    watch.refresh()
    watch._tell(watch.latest)
    client.do("start")
    clock[0] += 0.6
    moved = watch.refresh().rates[-1]
    clock[0] -= 0.3  # as if it had been seen sooner
    watch.latest = replace(watch.latest, at=clock[0])
    watch.close()
    after = Watch(
        parts.gallery, parts.journal, parts.plan, parts.steps, Measures(), lambda: clock[0]
    ).latest
    assert moved.written > 0
    assert after.rates[1].written == pytest.approx(moved.written, abs=0.001)


def test_a_refresh_is_one_line_of_the_journal(client, watch):
    journal = client.app.state.service.journal
    journal.record("fit", number=1, pairs=110)
    journal.record("fit", number=2, pairs=20, tenths=1, weight=0.4)
    journal.record("imputed", items=400, seconds=2.5)
    journal.record("refresh", tenths=1, weight=0.4)
    journal.record("refresh", tenths=2, weight=0.0, kept=False)
    assert [fact_text(fact) for fact in watch.refresh().facts[-3:]] == [
        "The maps between both models are fitted",
        "Imputed vectors are made anew, by what the moved items show",
        "Imputed vectors stay: the moved items would change them too little",
    ]
