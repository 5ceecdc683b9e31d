"""All around an upgrade is killed, cut and filled up: nothing is lost, nothing is doubled."""

from __future__ import annotations

import time

import numpy as np
import pytest

from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade.journal.sqlite import SqliteJournal
from tests.acceptance.campaign import page
from tests.acceptance.campaign.examination import examine
from tests.acceptance.campaign.outages import Outages
from tests.acceptance.campaign.run import campaign
from tests.acceptance.campaign.searches import Searches
from tests.acceptance.campaign.torn import tear
from tests.acceptance.processes import PATIENCE_SECONDS
from tests.unit.cli.models import NEW, OLD, contents, new_model, old_model

SEED = 0
# A full disk is noticed after seconds of retries: left to the long run and to tests/scenarios.
QUICK = {
    "qdrant-edge": ["start killed", "service killed", "journal torn"],
    "postgres": [
        "worker killed",
        "worker stopped past its lease",
        "start killed",
        "service killed",
        "PostgreSQL killed",
        "sessions ended",
        "connections cut",
    ],
}
LONG = {
    "redis": ["start killed", "service killed", "Redis killed", "connections ended"],
    "chroma": ["start killed", "service killed", "journal torn"],
    "chroma-server": ["start killed", "service killed", "journal torn", "Chroma killed"],
}
"""Left to the long run: on these ways nothing else is different, and Chroma syncs more often."""


@pytest.mark.parametrize(
    "store", [*QUICK, *(pytest.param(each, marks=pytest.mark.slow) for each in LONG)]
)
def test_faults_lose_nothing_double_nothing_and_fail_no_search_beyond_the_outage(store, tmp_path):
    kinds = (QUICK | LONG)[store]
    outcomes = list(campaign(store, len(kinds), SEED, tmp_path, only=kinds))
    assert sorted(each.kind for each in outcomes) == sorted(kinds)
    check(outcomes)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("store", [*QUICK, "redis"])
def test_a_hundred_faults_lose_nothing_and_double_nothing(store, tmp_path):
    outcomes = list(campaign(store, 50, SEED, tmp_path))
    assert len(outcomes) == 50
    check(outcomes)


def check(outcomes):
    for each in outcomes:
        found = (each.lost, each.doubled, each.wrong, each.search_errors, each.recovered)
        assert found == (0, 0, 0, 0, True), each
    assert sum(each.searches for each in outcomes) > 0


def test_the_page_shows_a_hundred_faults_that_lost_and_doubled_nothing():
    kept = page.outcomes()
    assert len(kept) >= 100
    assert {(each.store, each.kind) for each in kept} >= {
        (store, kind) for store, kinds in QUICK.items() for kind in (*kinds, "disk full")
    }
    check(kept)
    assert page.page() == page.PAGE.read_text(encoding="utf-8")


# Else the tests above would prove nothing ---------------------------------------------------------


def test_searches_that_miss_items_or_list_one_twice_are_seen():
    outages = Outages()
    answers = iter([["a", "b"], ["a"], ["a", "b", "a"], None])
    searches = Searches(lambda: next(answers), ["a", "b"], [outages])
    found = all_found(searches)
    assert (found.answers, found.lost, found.doubled) == (3, 1, 1)
    assert found.failures  # the answers ran out, and nothing was away


def test_a_search_may_fail_in_an_outage_only():
    outages = Outages()

    def fail():
        raise RuntimeError("away")

    with outages.one():
        assert all_found(Searches(fail, ["a"], [outages])).failures == []
    assert all_found(Searches(fail, ["a"], [outages])).failures
    assert outages.excuse(0.0, 1e12)
    assert not outages.excuse(0.0, 1.0)


def all_found(searches):
    """Let them go on until some have failed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with searches.going_on():
        while len(searches._findings.failures) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    return searches.taken()


def test_lost_items_and_wrong_vectors_are_seen():
    source = contents(6)
    ids, rows = list(source), list(source.values())
    gallery = MemoryGallery(OLD)
    gallery.add_space(NEW)
    versions = gallery.upsert(ids, old_model()(rows), space=OLD)
    gallery.move(ids[:2], new_model()(rows[:2]), space=NEW, expected_versions=versions[:2])
    good = examine(gallery, source)
    assert (good.lost, good.doubled, good.wrong, good.moved) == (0, 0, 0, 2)
    gallery.delete(ids[3:4])
    gallery.move(ids[4:5], new_model()(rows[5:6]), space=NEW, expected_versions=versions[4:5])
    bad = examine(gallery, source)
    assert (bad.lost, bad.doubled, bad.wrong, bad.moved) == (1, 0, 1, 3)


@pytest.mark.parametrize("seed", range(6))
def test_a_torn_journal_has_lost_its_newest_commits_and_no_others(tmp_path, seed):
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal(path)
    for number in range(100):
        journal.record("noted", number=number)
    log = path.with_name("journal.sqlite-wal")
    copy = tmp_path / "killed" / "journal.sqlite"  # closing a journal would tidy up
    copy.parent.mkdir()
    for name in ("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"):
        (copy.parent / name).write_bytes((path.parent / name).read_bytes())
    assert tear(copy.parent / log.name, np.random.default_rng(seed)) > 0
    torn = SqliteJournal(copy)
    left = [fact.body["number"] for fact in torn.facts("noted")]
    assert left == list(range(len(left)))
    assert 80 < len(left) < 100
    torn.record("noted", number=100)  # and it goes on
    torn.close()
    journal.close()
