"""An upgrade is struck by faults while an application searches and writes: no answer is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.stores.memory import MemoryGallery
from tests import milvus, redis_server
from tests.acceptance.truth import shop
from tests.acceptance.truth.oracle import Oracle
from tests.acceptance.truth.run import STORES, campaign
from tests.pgbouncer import program

SEED = 0
FAULTS = {"index-files": 8, "qdrant-edge": 8}
# Each once. The other kinds take longer, and are left to the long run.
KINDS = {
    "killed",
    "stopped",
    "power cut",
    "journal deleted",
    "journal restored",
    "store restored",
    "embedder hangs",
    "two commands at once",
}
ELSEWHERE = [store for store in STORES if store not in FAULTS]


@pytest.mark.parametrize("store", FAULTS)
def test_every_answer_is_right_or_refused_whatever_strikes(store, tmp_path):
    assert_faultless(campaign(store, FAULTS[store], SEED, tmp_path, only=KINDS))


@pytest.mark.slow
@pytest.mark.parametrize("store", ELSEWHERE)
def test_every_answer_is_right_or_refused_whatever_strikes_elsewhere(store, tmp_path):
    if "pgbouncer" in store and program() is None:
        pytest.skip("pgbouncer is not installed")
    servers = {"redis": redis_server.MISSING, "milvus": milvus.MISSING}
    if servers.get(store.partition(",")[0]):
        pytest.skip("the packages that have the server exist for Linux on x86-64 only")
    assert_faultless(campaign(store, 12, SEED, tmp_path))


def assert_faultless(outcomes):
    wrong = [outcome for outcome in outcomes if not outcome.faultless]
    assert not wrong, f"seed {SEED}: {wrong}"
    assert sum(outcome.answers for outcome in outcomes) > 10 * len(outcomes)
    assert sum(outcome.writes for outcome in outcomes) > 5 * len(outcomes)


# The oracle itself -------------------------------------------------------------------------------


def known(*writes) -> Oracle:
    """writes: item, version (0 for a delete), when it began, when it ended."""
    oracle = Oracle()
    for item_id, version, began, ended in writes:
        oracle.begin(item_id, version, began)
        if ended is not None:
            oracle.acknowledge(item_id, version, ended)
    return oracle


def judged(oracle, found, began=10.0, ended=11.0):
    judged = oracle.judge_answer(found, began, ended)
    return judged.lost, judged.doubled, judged.resurrected


def test_an_acknowledged_item_must_be_found_once():
    oracle = known(("a", 1, 0, 1), ("b", 1, 0, 1))
    assert judged(oracle, ["a", "b"]) == (0, 0, 0)
    assert judged(oracle, ["a"]) == (1, 0, 0)
    assert judged(oracle, ["a", "b", "b"]) == (0, 1, 0)


def test_a_deleted_item_must_not_be_found():
    oracle = known(("a", 1, 0, 1), ("a", 0, 2, 3))
    assert judged(oracle, []) == (0, 0, 0)
    assert judged(oracle, ["a"]) == (0, 0, 1)
    assert judged(oracle, ["never written"]) == (0, 0, 1)


def test_what_is_written_while_somebody_looks_may_be_there_or_not():
    for began, ended in ((9, 10.5), (10.5, 12), (9, None)):
        oracle = known(("a", 1, began, ended))
        assert judged(oracle, []) == judged(oracle, ["a"]) == (0, 0, 0)
    assert judged(known(("a", 1, 12, 13)), ["a"]) == (0, 0, 1)


def test_of_writes_that_overlap_either_may_be_the_last():
    """A process stands still over a delete, and another one writes the item meanwhile."""
    oracle = known(("a", 1, 0, 1), ("a", 0, 2, 5), ("a", 2, 3, 4))
    assert judged(oracle, []) == judged(oracle, ["a"]) == (0, 0, 0)
    assert judged(oracle, [], 4.5, 4.6) == judged(oracle, ["a"], 4.5, 4.6) == (0, 0, 0)
    later = known(("a", 0, 2, 5), ("a", 2, 3, 4), ("a", 3, 6, 7))
    assert judged(later, []) == (1, 0, 0)


def test_what_was_never_acknowledged_may_come_until_its_process_has_ended():
    oracle = known(("a", 1, 0, 1), ("a", 2, 5, 6))
    unsure = oracle.begin("a", 0, 2)
    assert judged(oracle, []) == judged(oracle, ["a"]) == (0, 0, 0)
    unsure.ended = 4
    assert judged(oracle, []) == (1, 0, 0)


def test_an_item_that_is_only_written_anew_must_be_there_all_the_time():
    oracle = known(("a", 1, 0, 1), ("a", 2, 10.2, None))
    assert judged(oracle, []) == (1, 0, 0)


def test_after_a_power_cut_what_was_acknowledged_lately_may_be_gone():
    oracle = known(("a", 1, 0, 1), ("b", 1, 5, 6), ("a", 0, 5, 6))
    oracle.doubt_since(2)
    for found in ([], ["a"], ["b"], ["a", "b"]):
        assert judged(oracle, found) == (0, 0, 0)


def test_an_imputed_vector_is_judged_by_the_map_that_its_origin_names():
    old, new = shop.old_model(), shop.new_model()
    turn = np.random.default_rng(0).normal(size=(shop.OLD.dimension, shop.NEW.dimension))
    oracle = Oracle((old, new))
    for item_id in "abc":
        oracle.begin(item_id, 1, 0.0)
        oracle.acknowledge(item_id, 1, 0.0)
    rows = [shop.content(item_id, 1) for item_id in "abc"]
    gallery = MemoryGallery(shop.OLD)
    gallery.add_space(shop.NEW)
    versions = gallery.upsert(["a", "b", "c"], old(rows), space=shop.OLD)
    made = (old(rows) @ turn).astype(np.float32)
    made[1] = made[0]  # of another item
    gallery.move(
        ["a", "b"], made[:2], space=shop.NEW, expected_versions=versions[:2], origin="a map"
    )
    assert oracle.judge_gallery(gallery, 1.0, {"a map": lambda some: old(some) @ turn}).stale == 1
    assert oracle.judge_gallery(gallery, 1.0, {"a map": lambda some: old(some) @ -turn}).stale == 2
    assert oracle.judge_gallery(gallery, 1.0).faultless  # by a map of which nothing is known
