"""An upgrade is struck by faults while an application searches and writes: no answer is wrong."""

from __future__ import annotations

import pytest

from tests.acceptance.truth.oracle import Oracle
from tests.acceptance.truth.run import campaign

SEED = 0
FAULTS = {"index-files": 8, "qdrant-edge": 8}
# The other kinds are left to the long run: `python -m tests.acceptance.truth`.
KINDS = {
    "killed",
    "stopped",
    "power cut",
    "embedder hangs",
    "two commands at once",
}


@pytest.mark.parametrize("store", FAULTS)
def test_every_answer_is_right_or_refused_whatever_strikes(store, tmp_path):
    outcomes = campaign(store, FAULTS[store], SEED, tmp_path, only=KINDS)
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


def test_an_item_that_is_only_written_anew_must_be_there_all_the_time():
    oracle = known(("a", 1, 0, 1), ("a", 2, 10.2, None))
    assert judged(oracle, []) == (1, 0, 0)


def test_after_a_power_cut_what_was_acknowledged_lately_may_be_gone():
    oracle = known(("a", 1, 0, 1), ("b", 1, 5, 6), ("a", 0, 5, 6))
    oracle.doubt_since(2)
    for found in ([], ["a"], ["b"], ["a", "b"]):
        assert judged(oracle, found) == (0, 0, 0)
