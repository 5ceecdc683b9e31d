"""What is measured of searches."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.service.measures import BINS, Measures


def test_percentiles_are_those_of_the_searches_of_each_kind():
    measures = Measures()
    seconds = np.random.default_rng(0).exponential(size=400)
    for value in seconds:
        measures.searched("both", value, 0.5, 1, 1)
    measures.searched("old", 7.0, 0.0, 1, 0)
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
    measures.searched("old", 2.0, 0.0, 1, 0)
    measures.searched("new", 4.0, 1.0, 0, 1)
    assert measures.recent_latency(7.0) == (7.0, 3.0, pytest.approx(3.98))
    now[0] = 61.0
    assert measures.recent_latency(7.0) is None


def test_the_composition_counts_hits_by_coverage():
    measures = Measures()
    measures.searched("both", 0.1, 0.0, 10, 0)
    measures.searched("both", 0.1, 0.51, 4, 6)
    measures.searched("both", 0.1, 0.54, 2, 8)
    measures.searched("both", 0.1, 1.0, 0, 10)
    measures.searched("new", 0.1, 1.0, 0, 10)  # one side only: says nothing about the mixture
    measures.searched("both", 0.1, 0.3, 0, 0)  # found nothing
    found = measures.compositions()
    half = 0.5 / BINS
    assert [each.coverage for each in found] == pytest.approx([half, 0.5 + half, 1.0 - half])
    assert [each.hits for each in found] == [10, 20, 10]
    assert [each.new_share for each in found] == pytest.approx([0.0, 0.7, 1.0])


def test_the_recent_share_of_hits_counts_an_item_as_often_as_it_is_found():
    now = [0.0]
    measures = Measures(clock=lambda: now[0])
    assert measures.recent_new_share() is None
    measures.searched("both", 0.1, 0.5, 0, 10)
    now[0] = 61.0
    measures.searched("both", 0.1, 0.5, 9, 1)
    measures.searched("new", 0.1, 0.5, 0, 10)
    measures.searched("old", 0.1, 0.5, 0, 0)  # found nothing
    assert measures.recent_new_share() == 11 / 20
