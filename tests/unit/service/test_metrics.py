"""The metrics are what Prometheus reads, and what the journal says."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.unit.cli.models import NEW, OLD
from tests.unit.cli.project import ITEMS


def samples(client):
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_coverage_phase_and_counts(client):
    before = samples(client)
    assert before["hotfill_items", ("model", str(OLD)), ("side", "old")] == ITEMS
    assert before[("hotfill_coverage_ratio",)] == 0
    assert before["hotfill_phase", ("phase", "planned")] == 1
    client.do("start")
    after = samples(client)
    assert after["hotfill_items", ("model", str(NEW)), ("side", "new")] == ITEMS
    assert after[("hotfill_coverage_ratio",)] == 1
    assert after["hotfill_phase", ("phase", "planned")] == 0
    assert after["hotfill_phase", ("phase", "backfilled")] == 1
    assert after[("hotfill_written_items_total",)] == ITEMS
    assert after[("hotfill_dead_letters",)] == 0


def test_searches_are_counted_by_phase_and_side(client):
    client.search(content=[1.0] * 8, k=3)
    client.do("start")
    client.search(content=[1.0] * 8, k=4)
    seen = samples(client)
    one = ("phase", "planned"), ("sides", "old")
    assert seen["hotfill_search_seconds_count", *one] == 1
    assert seen["hotfill_search_seconds_bucket", ("le", "+Inf"), *one] == 1
    both = ("phase", "backfilled"), ("sides", "both")
    assert seen["hotfill_search_seconds_count", *both] == 1
    assert seen["hotfill_search_hits_total", ("phase", "planned"), ("side", "old")] == 3
    assert seen["hotfill_search_hits_total", ("phase", "backfilled"), ("side", "new")] == 4


def test_holds_are_told_with_what_was_measured(client):
    client.ok("POST", "/upgrade/pause")
    client.upgrade()
    assert samples(client)["hotfill_hold", ("about", "local"), ("kind", "paused")] == 1


def test_requests_are_counted_by_route_and_status(client):
    client.get("/items/one")
    client.get("/items/two")
    seen = samples(client)
    route = ("route", "/items/{item_id}")
    assert seen["hotfill_requests_total", route, ("status", "404")] == 2
