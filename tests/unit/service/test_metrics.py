"""The metrics are what Prometheus reads, and what the journal says."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.unit.cli.models import NEW, OLD
from tests.unit.cli.project import ITEMS, write_config
from tests.unit.service.conftest import half_done, serving


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


def hits_of(client, phase="backfilling"):
    return {
        dict(labels)["side"]: value
        for (name, *labels), value in samples(client).items()
        if name == "hotfill_search_hits_total" and ("phase", phase) in labels
    }


def embedded_among(client, answer):
    """How many of the hits the new model embedded, by the store."""
    states = client.app.state.service.gallery.get([hit["item_id"] for hit in answer["hits"]])
    return sum(state.origin == NEW.fingerprint for state in states)


def test_hits_of_a_mixed_index_are_told_apart_where_the_search_read_it(project):
    with half_done(project, ranking="calibrated") as client:
        client.app.state.service.watch.close()  # it looks when it is told to
        answers = [client.search(content=[float(row)] * 8, k=9) for row in (1, 5)]
        own = sum(embedded_among(client, answer) for answer in answers)
        expected = {"imputed": 18 - own, "new": own}
        assert hits_of(client) == {side: hits for side, hits in expected.items() if hits}


def test_hits_of_a_mixed_index_are_looked_up_now_and_then_where_it_did_not(project):
    with half_done(project, ranking="raw") as client:
        client.app.state.service.watch.close()  # it looks when it is told to
        first = client.search(content="1 2 3 4 5 6 7 8", k=ITEMS)
        assert hits_of(client) == {}  # the next look tells
        client.app.state.service.watch.refresh()
        own = embedded_among(client, first)
        assert 0 < own < ITEMS
        assert hits_of(client) == {"imputed": ITEMS - own, "new": own}
        for _ in range(3):
            client.search(content="8 7 6 5 4 3 2 1", k=2)
        assert hits_of(client) == {"imputed": ITEMS - own, "new": own, "new_or_imputed": 4}


def test_hits_of_a_gallery_that_stays_imputed_are_told_apart_after_the_cutover(project):
    write_config(project.parent, upgrade={"backfill": "none"})
    with serving(project) as client:
        client.do("start")
        client.do("verify")
        client.ok("POST", "/upgrade/cutover")
        client.search(content="1 2 3 4 5 6 7 8", k=ITEMS)
        client.app.state.service.watch.refresh()
        seen = hits_of(client, "cut_over")
        assert seen.get("imputed", 0) > ITEMS / 2
        assert sum(seen.values()) == ITEMS
