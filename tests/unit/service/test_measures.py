"""What is measured of searches."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.service.measures import BINS, HitsOfSearch, Measures


def test_percentiles_are_those_of_the_searches_of_each_kind():
    measures = Measures()
    seconds = np.random.default_rng(0).exponential(size=400)
    for value in seconds:
        measures.searched("backfilling", "both", value, 0.5, HitsOfSearch(1, 0, 1))
    measures.searched("backfilling", "old", 7.0, 0.0, HitsOfSearch(1, 0, 0))
    old, both = measures.latencies()
    assert (old.sides, old.searches, old.p50_seconds) == ("old", 1, 7.0)
    assert (both.sides, both.searches) == ("both", 400)
    assert (both.p50_seconds, both.p95_seconds, both.p99_seconds) == pytest.approx(
        np.percentile(seconds, [50, 95, 99])
    )


def test_the_recent_latency_forgets_after_a_minute():
    now = [0.0]
    measures = Measures(clock=lambda: now[0])
    assert measures.recent_latency(7.0) is None
    measures.searched("backfilling", "old", 2.0, 0.0, HitsOfSearch(1, 0, 0))
    measures.searched("backfilling", "new", 4.0, 1.0, HitsOfSearch(0, 0, 1))
    assert measures.recent_latency(7.0) == (7.0, 3.0, pytest.approx(3.98))
    now[0] = 61.0
    assert measures.recent_latency(7.0) is None


def test_the_composition_counts_hits_by_coverage():
    measures = Measures()
    measures.searched("backfilling", "both", 0.1, 0.0, HitsOfSearch(10, 0, 0))
    measures.searched("backfilling", "both", 0.1, 0.51, HitsOfSearch(4, 0, 6))
    measures.searched("backfilling", "both", 0.1, 0.54, HitsOfSearch(2, 0, 8))
    measures.searched("backfilling", "both", 0.1, 1.0, HitsOfSearch(0, 0, 10))
    # One side only: it says nothing about the mixture.
    measures.searched("cut_over", "new", 0.1, 1.0, HitsOfSearch(0, 0, 10))
    measures.searched("backfilling", "both", 0.1, 0.3, HitsOfSearch(0, 0, 0))  # found nothing
    found = measures.compositions()
    half = 0.5 / BINS
    assert [each.coverage for each in found] == pytest.approx([half, 0.5 + half, 1.0 - half])
    assert [each.hits for each in found] == [10, 20, 10]
    assert [each.new_share for each in found] == pytest.approx([0.0, 0.7, 1.0])


def test_the_recent_share_of_hits_counts_an_item_as_often_as_it_is_found():
    now = [0.0]
    measures = Measures(clock=lambda: now[0])
    assert measures.recent_new_share() is None
    measures.searched("backfilling", "both", 0.1, 0.5, HitsOfSearch(0, 0, 10))
    now[0] = 61.0
    measures.searched("backfilling", "both", 0.1, 0.5, HitsOfSearch(9, 0, 1))
    measures.searched("backfilling", "new", 0.1, 0.5, HitsOfSearch(0, 0, 10))
    measures.searched("backfilling", "old", 0.1, 0.5, HitsOfSearch(0, 0, 0))  # found nothing
    assert measures.recent_new_share() == 11 / 20


def test_every_hit_is_counted_once_and_one_search_at_a_time_is_looked_up():
    measures = Measures()
    measures.searched("backfilling", "both", 0.1, 0.5, HitsOfSearch(old=2, unread=["a", "b"]))
    measures.searched("backfilling", "both", 0.1, 0.5, HitsOfSearch(unread=["c", "d", "e"]))
    measures.searched("backfilling", "both", 0.1, 0.5, HitsOfSearch(1, 2, 4))
    assert measures.hits() == {
        ("backfilling", "old"): 3,
        ("backfilling", "imputed"): 2,
        ("backfilling", "new"): 4,
        ("backfilling", "new_or_imputed"): 2,  # a newer search came before the look
    }
    search = measures.unread()
    assert search.item_ids == ["c", "d", "e"]
    assert measures.unread() is None
    measures.told(search, 0.5, new=1)
    assert measures.hits() == {
        ("backfilling", "old"): 3,
        ("backfilling", "imputed"): 4,
        ("backfilling", "new"): 5,
        ("backfilling", "new_or_imputed"): 2,
    }
    (seen,) = measures.compositions()  # of the searches that are known whole
    assert (seen.hits, seen.new_share) == (10, 0.5)
    # The search that was looked up stands for the one before it, too: seven hits, not three.
    assert measures.recent_new_share() == pytest.approx((4 + 7 / 3) / (7 + 7))
