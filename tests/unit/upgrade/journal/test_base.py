"""What every journal promises, whatever it is made of."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hotfill.errors import JournalError, PhaseError, UpgradeBusyError
from hotfill.upgrade.journal.base import Batch, Tally
from hotfill.upgrade.phases import Hold, Phase, Step
from tests.unit.upgrade.journal.journals import JOURNALS

ROOT = Path(__file__).parents[4]
CHILD = "tests.unit.upgrade.journal.add_work_child"


@pytest.fixture(params=list(JOURNALS))
def opened(request, tmp_path):
    """Opens the same journal again and again, each time as another process would."""
    made = []

    def open_one():
        made.append(JOURNALS[request.param](tmp_path))
        return made[-1]

    open_one.kind = request.param
    yield open_one
    for journal in made:
        journal.close()


def work(journal, item_ids, batch_size=2, stage="embed"):
    return journal.add_work(stage, [(item_ids, range(len(item_ids)))], batch_size)


def batches(journal, stage="embed"):
    """Lease everything."""
    return list(iter(lambda: journal.lease(stage, "test", 60.0), None))


# Facts and the phase --------------------------------------------------------------------------


def test_facts_are_read_in_order_and_by_kind_also_by_others(opened):
    journal, other = opened(), opened()
    before = time.time()
    journal.record("verified", passed=False, ids=["ä", "b"])
    journal.record("started")
    other.record("verified", passed=True, ids=[])
    kinds = [(fact.kind, fact.body) for fact in journal.facts()]
    assert kinds == [
        ("verified", {"passed": False, "ids": ["ä", "b"]}),
        ("started", {}),
        ("verified", {"passed": True, "ids": []}),
    ]
    assert [fact.body["passed"] for fact in other.facts("verified")] == [False, True]
    assert journal.last("verified").body["passed"]
    assert journal.last("backfilled") is None
    numbers = [fact.number for fact in journal.facts()]
    assert numbers == sorted(set(numbers))
    for kind in (None, "verified"):
        facts = list(journal.facts(kind))
        for place, fact in enumerate(facts):
            assert list(journal.facts(kind, after=fact.number)) == facts[place + 1 :]
    assert all(before <= fact.at <= time.time() for fact in journal.facts())


def test_a_fresh_journal_is_planned_and_empty(opened):
    journal = opened()
    assert journal.phase is Phase.PLANNED
    assert list(journal.facts()) == []
    assert journal.holds() == ()
    assert journal.dead_letters() == ()
    assert journal.last_beat() == {}
    assert journal.tally("embed") == Tally()
    assert journal.lease("embed", "test", 1.0) is None


def test_a_phase_is_entered_once_and_survives_the_process(opened):
    journal = opened()
    for phase in (Phase.PREPARED, Phase.PREPARED, Phase.BACKFILLING):
        journal.enter(phase)
    journal.close()
    again = opened()
    assert again.phase is Phase.BACKFILLING
    assert [fact.body["phase"] for fact in again.facts("phase")] == ["prepared", "backfilling"]


def test_a_step_out_of_turn_writes_nothing(opened):
    journal = opened()
    with pytest.raises(PhaseError):
        journal.advance(Step.CUTOVER)
    assert list(journal.facts()) == []
    assert journal.advance(Step.START) is Phase.PREPARED
    assert journal.advance(Step.START) is Phase.PREPARED
    assert len(list(journal.facts("phase"))) == 1


# Holds ----------------------------------------------------------------------------------------


def test_a_hold_of_the_same_kind_and_subject_is_replaced_and_keeps_its_time(opened):
    journal = opened()
    journal.hold(Hold("throttled", "lag", 5.0, measured=2.0, required=1.0))
    journal.hold(Hold("paused", "anna", 3.0))
    journal.hold(Hold("throttled", "lag", 9.0, measured=4.0, required=1.5))
    assert opened().holds() == (
        Hold("paused", "anna", 3.0),
        Hold("throttled", "lag", 5.0, measured=4.0, required=1.5),
    )


def test_holds_end_one_by_one_or_by_kind(opened):
    journal = opened()
    for about in ("a", "b", "c"):
        journal.hold(Hold("throttled", about, 1.0))
    journal.hold(Hold("paused", "anna", 2.0))
    assert journal.release("throttled", "b")
    assert not journal.release("throttled", "b")
    assert [hold.about for hold in journal.holds()] == ["a", "c", "anna"]
    assert journal.release("throttled")
    assert not journal.release("gate")
    assert [hold.kind for hold in journal.holds()] == ["paused"]


# Work -----------------------------------------------------------------------------------------

items = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True)
ranks = st.floats(allow_nan=False) | st.sampled_from([0.0, 1.0, math.inf])


@pytest.mark.parametrize("kind", list(JOURNALS))
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_work_is_cut_in_the_order_of_ranks_and_then_of_ids(kind, data):
    names = data.draw(items)
    rank_of = {name: data.draw(ranks) for name in names}
    cuts = sorted(data.draw(st.lists(st.integers(0, len(names)), max_size=3)))
    batch_size = data.draw(st.integers(1, 5))
    parts = [names[a:b] for a, b in zip([0, *cuts], [*cuts, len(names)], strict=True)]
    with TemporaryDirectory() as folder:
        journal = JOURNALS[kind](Path(folder))
        pages = [(part, [rank_of[name] for name in part]) for part in parts]
        assert journal.add_work("embed", pages, batch_size) == len(names)
        found = [batch.item_ids for batch in batches(journal)]
        journal.close()
    expected = sorted(names, key=lambda name: (rank_of[name], name.encode()))
    assert [name for batch in found for name in batch] == expected
    assert all(len(batch) == batch_size for batch in found[:-1])


def test_an_error_in_the_pages_adds_nothing_and_the_next_try_is_whole(opened):
    journal = opened()
    work(journal, ["first"])

    def broken():
        yield [f"item-{i}" for i in range(50)], [0.0] * 50
        raise KeyError("the store went away")

    with pytest.raises(KeyError):
        journal.add_work("embed", broken(), 7)
    with pytest.raises(ValueError, match="zip"):  # more ids than ranks
        journal.add_work("embed", [(["a", "b"], [0.0])], 7)
    assert journal.tally("embed").total == 1
    assert work(journal, ["a", "b", "c"]) == 3
    assert [batch.item_ids for batch in batches(journal)] == [("first",), ("a", "b"), ("c",)]


def test_a_kill_in_the_middle_of_adding_work_leaves_all_of_before_and_none_of_it(opened, tmp_path):
    journal = opened()
    work(journal, ["first"])
    journal.close()
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            CHILD,
            opened.kind,
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as child:
        assert [child.stdout.readline() for _ in range(3)] == ["0\n", "1\n", "2\n"]
        child.kill()
    again = opened()
    assert [batch.item_ids for batch in batches(again)] == [("first",)]
    assert work(again, ["a"]) == 1


def test_stages_do_not_know_each_other(opened):
    journal = opened()
    work(journal, ["a", "b"], stage="prefill")
    work(journal, ["a", "b", "c"], stage="embed")
    (batch,) = batches(journal, "prefill")
    journal.finish(batch, moved=2, skipped=0)
    assert (journal.tally("prefill"), journal.tally("embed")) == (Tally(2, 2, 0), Tally(3, 0, 0))
    journal.drop_work("embed")
    assert (journal.tally("prefill").total, journal.tally("embed").total) == (2, 0)
    assert journal.lease("revert", "test", 1.0) is None


def test_two_connections_never_lease_the_same_batch(opened):
    journals = [opened(), opened()]
    work(journals[0], [f"item-{i:03}" for i in range(200)])
    taken: list[list[Batch]] = [[], []]

    def take(number):
        taken[number] += batches(journals[number])

    threads = [threading.Thread(target=take, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [batch.number for each in taken for batch in each]
    assert len(numbers) == len(set(numbers)) == 100


def test_a_lease_that_ran_out_is_given_to_the_next_who_asks(opened):
    journal, other = opened(), opened()
    work(journal, ["a", "b", "c"])
    first = journal.lease("embed", "dies", 0.0)
    second = other.lease("embed", "lives", 60.0)
    assert second == first
    assert other.lease("embed", "lives", 60.0).item_ids == ("c",)
    assert other.lease("embed", "lives", 60.0) is None


def test_batches_that_follow_are_taken_as_one_in_their_order(opened):
    journal, other = opened(), opened()
    work(journal, list("abcdefghi"))
    work(journal, ["other"], stage="revert")
    assert journal.lease("embed", "one", 60.0, None, 5).item_ids == ("a", "b", "c", "d")
    assert other.lease("embed", "two", 60.0, None, 1).item_ids == ("e", "f")
    assert other.lease("embed", "two", 60.0, None, 99).item_ids == ("g", "h", "i")
    assert other.lease("embed", "two", 60.0, None, 99) is None
    assert [each.items for each in journal.workers()] == [4, 5]
    assert journal.tally("embed") == Tally(9, 0, 0)


def test_whoever_had_a_batch_means_the_items_that_he_was_given(opened):
    journal, other = opened(), opened()
    work(journal, list("abcdef"))
    slow = journal.lease("embed", "slow", 0.0)
    freed = journal.lease("embed", "freed", 0.0)  # the first again: nobody else could have it
    assert freed == slow
    next_one = other.lease("embed", "quick", 60.0, None, 99)
    assert next_one == slow  # it is not made larger under the hands of the others
    assert other.lease("embed", "quick", 60.0, None, 99).item_ids == tuple("cdef")
    journal.finish(slow, moved=2, skipped=0)
    other.finish(next_one, moved=0, skipped=2)
    assert journal.tally("embed") == Tally(6, 2, 0)


def test_what_was_put_back_or_given_back_is_not_joined_to_others(opened):
    journal = opened()
    work(journal, list("abcdefgh"))
    first, second = (journal.lease("embed", "one", 60.0) for _ in range(2))
    journal.release_leases("one")
    assert journal.lease("embed", "one", 60.0, None, 99) == first
    journal.put_back(first, [["a"], ["b"]])
    taken = list(iter(lambda: journal.lease("embed", "two", 60.0, None, 99), None))
    assert [each.item_ids for each in taken] == [second.item_ids, tuple("efgh"), ("a",), ("b",)]


def test_several_batches_taken_as_one_end_with_the_budget(opened):
    journal = opened()
    work(journal, list("abcdefghi"))
    first = journal.lease("embed", "one", 60.0, 7, 4)
    second = journal.lease("embed", "one", 60.0, 7, 4)
    third = journal.lease("embed", "one", 60.0, 7, 4)
    assert [each.item_ids for each in (first, second, third)] == [
        tuple("abcd"),
        tuple("ef"),
        ("g",),
    ]
    assert journal.lease("embed", "one", 60.0, 7, 4) is None
    assert journal.tally("embed").total == 9


def test_many_who_take_several_batches_at_once_get_every_item_once(opened):
    journal = opened()
    names = [f"item-{i:03}" for i in range(300)]
    work(journal, names, batch_size=3)
    taken = [[] for _ in range(4)]

    def take(place):
        mine = opened()
        while (batch := mine.lease("embed", str(place), 60.0, None, 4 + 5 * place)) is not None:
            taken[place].append(batch)

    threads = [threading.Thread(target=take, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    had = [name for each in taken for batch in each for name in batch.item_ids]
    assert sorted(had) == names
    assert all(
        len(batch.item_ids) <= 4 + 5 * place for place, each in enumerate(taken) for batch in each
    )


def test_a_budget_cuts_the_batch_in_which_it_ends(opened):
    journal, other = opened(), opened()
    work(journal, ["a", "b", "c", "d", "e"])
    first = journal.lease("embed", "one", 60.0, 3)
    second = other.lease("embed", "two", 60.0, 3)
    assert (first.item_ids, second.item_ids) == (("a", "b"), ("c",))
    assert journal.lease("embed", "one", 60.0, 3) is None  # all of it is in hand
    journal.finish(first, moved=1, skipped=1)
    third = journal.lease("embed", "one", 60.0, 3)
    assert len(third.item_ids) == 1  # what was skipped is paid to the next
    for batch in (second, third):
        journal.finish(batch, moved=1, skipped=0)
    assert journal.lease("embed", "one", 60.0, 3) is None
    assert journal.tally("embed") == Tally(total=5, moved=3, skipped=1)
    assert len(batches(journal)) == 1


def test_origins_of_old_vectors_are_noted_once_for_each_item(opened):
    journal, other = opened(), opened()
    assert journal.origins_noted(["a", "ä"]) == {}
    journal.note_origins([(["a", "ä"], [1, 2**40], "first"), (["b"], [3], "second")])
    journal.note_origins([(["b"], [4], "third")])
    assert other.origins_noted(["ä", "b", "c"]) == {"ä": (2**40, "first"), "b": (4, "third")}


def test_whoever_knows_to_be_alone_gets_all_leases_back(opened):
    journal = opened()
    work(journal, ["a", "b", "c"])
    done, _ = batches(journal)
    journal.finish(done, moved=2, skipped=0)
    again = opened()
    assert again.release_leases() == 1
    assert [batch.item_ids for batch in batches(again)] == [("c",)]
    assert again.release_leases() == 1


def test_finishing_twice_counts_once(opened):
    journal = opened()
    work(journal, ["a", "b", "c"], batch_size=3)
    (batch,) = batches(journal)
    journal.finish(batch, moved=2, skipped=1)
    journal.finish(batch, moved=0, skipped=3)
    assert journal.tally("embed") == Tally(3, 2, 1)
    assert journal.tally("embed").left == 0


def test_a_failed_batch_comes_back_in_parts_with_one_more_attempt(opened):
    journal = opened()
    work(journal, ["a", "b", "c", "d", "e"], batch_size=4)
    batch = journal.lease("embed", "test", 60.0)
    journal.put_back(batch, [["a", "b", "d"], ["c"]])
    parts = batches(journal)
    assert [(part.item_ids, part.attempts) for part in parts] == [
        (("e",), 0),
        (("a", "b", "d"), 1),
        (("c",), 1),
    ]
    assert journal.tally("embed").total == 5
    journal.put_back(parts[2], [["c"]])
    assert journal.lease("embed", "test", 60.0).attempts == 2


def test_putting_a_batch_back_that_is_done_or_was_put_back_already_changes_nothing(opened):
    journal = opened()
    work(journal, ["a", "b", "c", "d"])
    first, second = batches(journal)
    journal.finish(first, moved=2, skipped=0)
    journal.put_back(first, [["a"], ["b"]])  # by the owner of a lease that had run out
    journal.put_back(second, [["c"], ["d"]])
    journal.put_back(second, [["c"], ["d"]])
    assert journal.tally("embed") == Tally(4, 2, 0)
    assert [batch.item_ids for batch in batches(journal)] == [("c",), ("d",)]


def test_rejected_items_leave_their_batch_and_are_listed_with_the_reason(opened):
    journal = opened()
    work(journal, ["a", "b", "c"], batch_size=3)
    (batch,) = batches(journal)
    journal.reject(batch, ["b"], "cannot be read")
    assert journal.tally("embed").total == 2
    journal.release_leases()
    assert batches(journal)[0].item_ids == ("a", "c")
    (letter,) = opened().dead_letters()
    assert (letter.item_id, letter.stage, letter.error, letter.attempts) == (
        "b",
        "embed",
        "cannot be read",
        1,
    )


def test_items_of_one_batch_may_be_rejected_one_after_the_other(opened):
    journal = opened()
    work(journal, ["a", "b", "c"], batch_size=3)
    (batch,) = batches(journal)
    journal.reject(batch, ["b"], "x")
    journal.reject(batch, ["c"], "x")
    assert journal.tally("embed").total == 1
    journal.release_leases()
    assert batches(journal)[0].item_ids == ("a",)


def test_dead_letters_become_work_again_at_their_stage(opened):
    journal = opened()
    work(journal, ["a", "b", "c", "d"], batch_size=4)
    (batch,) = batches(journal)
    journal.reject(batch, ["a", "b", "c"], "x")
    work(journal, ["z"], stage="revert")
    (other,) = batches(journal, "revert")
    journal.reject(other, ["z"], "x")
    assert journal.retry(batch_size=2) == 4
    assert journal.dead_letters() == ()
    assert [(each.item_ids, each.attempts) for each in batches(journal)] == [
        (("a", "b"), 0),
        (("c",), 0),
    ]
    assert [each.item_ids for each in batches(journal, "revert") if each.item_ids] == [("z",)]
    assert journal.retry(batch_size=2) == 0


def rejected(journal, *item_ids):
    """Make items dead letters of a batch that is done otherwise."""
    work(journal, list(item_ids), batch_size=len(item_ids))
    (batch,) = batches(journal)
    journal.reject(batch, item_ids, "cannot be read")
    journal.finish(batch, moved=0, skipped=0)


def test_an_accepted_dead_letter_is_listed_apart_with_who_accepted_it(opened):
    journal = opened()
    rejected(journal, "a", "b", "c")
    assert journal.accept(["a", "c", "never seen"], by="ada") == 2
    assert [each.item_id for each in journal.dead_letters()] == ["b"]
    accepted = opened().dead_letters(accepted=True)
    assert [(each.item_id, each.accepted_by) for each in accepted] == [("a", "ada"), ("c", "ada")]


def test_an_accepted_dead_letter_is_only_tried_again_by_its_name(opened):
    journal = opened()
    rejected(journal, "a", "b", "c")
    journal.accept(["a", "b"], by="ada")
    assert journal.retry(batch_size=8) == 1
    assert batches(journal)[0].item_ids == ("c",)
    assert journal.retry(batch_size=8, item_ids=["b", "never seen"]) == 1
    assert batches(journal)[0].item_ids == ("b",)
    assert [each.item_id for each in journal.dead_letters(accepted=True)] == ["a"]
    assert journal.retry(batch_size=8, item_ids=[]) == 0


def test_what_fails_again_is_no_longer_accepted(opened):
    journal = opened()
    rejected(journal, "a")
    journal.accept(["a"], by="ada")
    rejected(journal, "a")
    assert [each.item_id for each in journal.dead_letters()] == ["a"]


def test_who_has_batches_in_hand_is_named_the_longest_first(opened):
    journal = opened()
    work(journal, ["a", "b", "c", "d", "e"])
    journal.lease("embed", "slow", 60.0)
    time.sleep(0.05)
    for _ in range(2):
        journal.lease("embed", "quick", 60.0)
    slow, quick = opened().workers()
    assert (slow.owner, slow.batches, slow.items) == ("slow", 1, 2)
    assert (quick.owner, quick.batches, quick.items) == ("quick", 2, 3)
    assert slow.seconds >= quick.seconds + 0.04
    journal.release_leases()
    assert opened().workers() == ()


def test_a_prolonged_lease_is_not_a_younger_one(opened):
    journal = opened()
    work(journal, ["a"])
    journal.lease("embed", "slow", 60.0)
    time.sleep(0.05)
    journal.prolong("slow", 60.0)
    assert journal.workers()[0].seconds >= 0.04


def test_a_journal_has_an_identity_of_its_own_that_stays(opened, tmp_path):
    journal = opened()
    assert len(journal.identity) >= 32
    assert opened().identity == journal.identity
    other = tmp_path / "other"
    other.mkdir()
    second = JOURNALS[opened.kind](other)
    assert second.identity != journal.identity
    second.close()


def test_the_batches_of_a_former_leader_are_free_for_the_next_and_those_of_workers_are_not(opened):
    first, second = opened(), opened()
    work(first, ["a", "b", "c", "d"])
    with first.coordinating():
        name = first.leader
        assert first.lease("embed", name, 60.0).item_ids == ("a", "b")
        first.lease("embed", "a worker", 60.0)
    with second.coordinating():
        assert second.leader != name
        assert second.lease("embed", second.leader, 60.0).item_ids == ("a", "b")
        assert second.lease("embed", second.leader, 60.0) is None


def test_who_leads_or_never_did_may_go_on(opened):
    journal, worker = opened(), opened()
    worker.check_leading()
    with journal.coordinating():
        journal.check_leading()
        worker.check_leading()
        worker.advance(Step.START)  # anybody may take a step that the phase allows
    journal.check_leading()


def test_forgetting_work_keeps_what_is_done(opened):
    journal = opened()
    work(journal, ["a", "b", "c", "d"])
    first, _ = batches(journal)
    journal.finish(first, moved=2, skipped=0)
    journal.drop_work("embed")
    assert journal.tally("embed") == Tally(2, 2, 0)
    assert batches(journal) == []


def test_all_items_ever_worked_on_can_be_read_even_while_it_grows(opened):
    journal = opened()
    names = [f"item-{i:03}" for i in range(100)]
    work(journal, names, batch_size=1)
    reading = journal.worked_ids("embed")
    first = [next(reading) for _ in range(20)]
    for batch in batches(journal):
        journal.finish(batch, moved=1, skipped=0)
    assert [*first, *reading] == [(name,) for name in names]


# Deletes and signs of life ----------------------------------------------------------------------


def test_what_is_written_anew_was_not_deleted_and_did_not_fail(opened):
    journal = opened()
    work(journal, ["a", "b", "c", "d"], batch_size=4)
    (batch,) = batches(journal)
    journal.reject(batch, ["a", "b", "c"], "no content")
    journal.mark_deleted(["x", "y"])
    assert journal.forget(["a", "x", "z"]) is True
    assert journal.forget(["a", "x", "z"]) is False
    assert [each.item_id for each in opened().dead_letters()] == ["b", "c"]
    assert opened().deleted(["x", "y"]) == {"y"}
    journal.mark_deleted(["b"])  # deleted, so it need not be embedded
    assert [each.item_id for each in journal.dead_letters()] == ["c"]
    journal.resolve(["c", "d"])
    assert opened().dead_letters() == ()
    assert opened().deleted(["b", "c"]) == {"b"}
    assert journal.forget([]) is False


def test_deleted_items_are_told_from_missing_ones(opened):
    journal = opened()
    journal.mark_deleted(["a", "ö"])
    journal.mark_deleted(["a"])
    journal.mark_deleted([])
    many = [f"item-{i}" for i in range(5000)]
    assert opened().deleted(["a", "b", "ö", *many]) == {"a", "ö"}
    assert journal.deleted([]) == frozenset()


def test_only_the_newest_sign_of_life_is_kept_with_its_time(opened):
    journal = opened()
    before = time.time()
    journal.beat(pid=1, written=3)
    journal.beat(pid=2)
    beat = opened().last_beat()
    assert before <= beat.pop("at") <= time.time()
    assert beat == {"pid": 2}


def test_a_closed_journal_says_so_and_closing_again_is_harmless(opened):
    journal = opened()
    journal.close()
    journal.close()
    for use in (journal.holds, lambda: journal.record("x"), lambda: work(journal, ["a"])):
        with pytest.raises(JournalError, match="closed"):
            use()


def test_many_threads_may_use_one_journal(opened):
    journal = opened()
    work(journal, [f"item-{i:03}" for i in range(120)], batch_size=1)
    faults = []

    def use(number):
        try:
            while (batch := journal.lease("embed", str(number), 60.0)) is not None:
                journal.beat(number=number)
                journal.finish(batch, moved=1, skipped=0)
                journal.record("batch", number=batch.number)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert journal.tally("embed") == Tally(120, 120, 0)
    done = [fact.body["number"] for fact in journal.facts("batch")]
    assert len(done) == len(set(done)) == 120


# Against plain dictionaries ---------------------------------------------------------------------

STAGES = ["prefill", "embed", "revert"]


class JournalMachine(RuleBasedStateMachine):
    """A journal against dictionaries; it is closed and opened again in between."""

    kind: str

    def __init__(self):
        super().__init__()
        self.folder = TemporaryDirectory()
        self.journal = JOURNALS[self.kind](Path(self.folder.name))
        # (item ids, attempts, whether somebody had it), next first
        self.todo = {stage: [] for stage in STAGES}
        self.leased: list[Batch] = []
        self.total = dict.fromkeys(STAGES, 0)
        self.done = {stage: [0, 0] for stage in STAGES}
        self.dead: dict[str, str] = {}
        self.held: dict[tuple[str, str], float | None] = {}
        self.phase = Phase.PLANNED
        self.names = 0

    def teardown(self):
        self.journal.close()
        self.folder.cleanup()

    @rule(
        stage=st.sampled_from(STAGES),
        ranks=st.lists(st.integers(0, 3), max_size=9),
        batch_size=st.integers(1, 4),
    )
    def add(self, stage, ranks, batch_size):
        names = [f"{self.names + i:05}" for i in range(len(ranks))]
        self.names += len(ranks)
        self.journal.add_work(stage, [(names, ranks)], batch_size)
        ordered = [name for _, name in sorted(zip(ranks, names, strict=True))]
        for begin in range(0, len(ordered), batch_size):
            self.todo[stage].append((tuple(ordered[begin : begin + batch_size]), 0, False))
        self.total[stage] += len(ranks)

    @rule(stage=st.sampled_from(STAGES), items=st.none() | st.integers(1, 12))
    def lease(self, stage, items):
        batch = self.journal.lease(stage, "machine", 1000.0, None, items)
        if not self.todo[stage]:
            assert batch is None
            return
        names, attempts, touched = self.todo[stage].pop(0)
        if items is not None and not touched and attempts == 0:
            names = self.joined(stage, names, items)
        assert (batch.item_ids, batch.attempts) == (names, attempts)
        self.leased.append(batch)

    def joined(self, stage, names, items):
        untouched = [each for each in self.todo[stage] if each[1:] == (0, False)]
        for each in untouched[: max(0, items // len(names) - 1)]:
            if len(names) + len(each[0]) > items:
                break
            names += each[0]
            self.todo[stage].remove(each)
        return names

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def finish(self, data):
        batch = data.draw(st.sampled_from(self.leased))
        self.leased.remove(batch)
        moved = data.draw(st.integers(0, len(batch.item_ids)))
        skipped = len(batch.item_ids) - moved
        for _ in range(data.draw(st.integers(1, 2))):
            self.journal.finish(batch, moved=moved, skipped=skipped)
        self.done[batch.stage][0] += moved
        self.done[batch.stage][1] += skipped

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def put_back(self, data):
        batch = data.draw(st.sampled_from(self.leased))
        self.leased.remove(batch)
        cut = data.draw(st.integers(0, len(batch.item_ids)))
        parts = [part for part in (batch.item_ids[:cut], batch.item_ids[cut:]) if part]
        self.journal.put_back(batch, parts)
        self.todo[batch.stage] += [(part, batch.attempts + 1, False) for part in parts]

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def reject(self, data):
        batch = data.draw(st.sampled_from(self.leased))
        self.leased.remove(batch)
        some = data.draw(st.lists(st.sampled_from(batch.item_ids), unique=True))
        self.journal.reject(batch, some, "x")
        kept = len(batch.item_ids) - len(some)
        self.journal.finish(batch, moved=kept, skipped=0)
        self.total[batch.stage] -= len(some)
        self.done[batch.stage][0] += kept
        self.dead.update(dict.fromkeys(some, batch.stage))

    @rule(batch_size=st.integers(1, 3))
    def retry_dead_letters(self, batch_size):
        assert self.journal.retry(batch_size) == len(self.dead)
        for stage in STAGES:
            names = sorted(name for name, where in self.dead.items() if where == stage)
            for begin in range(0, len(names), batch_size):
                self.todo[stage].append((tuple(names[begin : begin + batch_size]), 0, False))
            self.total[stage] += len(names)
        self.dead = {}

    @rule(stage=st.sampled_from(STAGES))
    def drop(self, stage):
        self.journal.drop_work(stage)
        gone = [batch for batch in self.leased if batch.stage == stage]
        self.leased = [batch for batch in self.leased if batch.stage != stage]
        self.total[stage] -= sum(len(batch.item_ids) for batch in gone)
        self.total[stage] -= sum(len(names) for names, *_ in self.todo[stage])
        self.todo[stage] = []

    @rule(
        kind=st.sampled_from(["paused", "throttled"]),
        about=st.sampled_from("ab"),
        measured=st.none() | st.integers(0, 3),
    )
    def hold(self, kind, about, measured):
        self.journal.hold(Hold(kind, about, 1.0, measured=measured))
        self.held[kind, about] = measured

    @rule(kind=st.sampled_from(["paused", "throttled"]), about=st.none() | st.sampled_from("ab"))
    def release(self, kind, about):
        gone = [key for key in self.held if key[0] == kind and about in (None, key[1])]
        assert self.journal.release(kind, about) == bool(gone)
        for key in gone:
            del self.held[key]

    @rule(phase=st.sampled_from(list(Phase)))
    def enter(self, phase):
        self.journal.enter(phase)
        self.phase = phase

    @rule(release=st.booleans())
    def open_again(self, release):
        self.journal.close()
        self.journal = JOURNALS[self.kind](Path(self.folder.name))
        if release:
            assert self.journal.release_leases() == len(self.leased)
            for stage in STAGES:
                back = [each for each in self.leased if each.stage == stage]
                # They were made before everything that still waits, unless by a later retry.
                self.todo[stage] += [(each.item_ids, each.attempts, True) for each in back]
                self.reorder(stage)
            self.leased = []

    def reorder(self, stage):
        """Put what waits into the order of the journal, which only its numbers tell."""
        order = list(self.journal.worked_ids(stage))
        self.todo[stage].sort(key=lambda each: order.index(each[0]))

    @invariant()
    def counts_agree(self):
        assert self.journal.phase is self.phase
        letters = {each.item_id: each.stage for each in self.journal.dead_letters()}
        assert letters == self.dead
        holds = {(hold.kind, hold.about): hold.measured for hold in self.journal.holds()}
        assert holds == self.held
        for stage in STAGES:
            tally = self.journal.tally(stage)
            assert [tally.total, tally.moved, tally.skipped] == [
                self.total[stage],
                *self.done[stage],
            ]


@pytest.mark.parametrize("kind", list(JOURNALS))
def test_a_journal_agrees_with_dictionaries_whatever_is_done_to_it(kind):
    class Machine(JournalMachine):
        pass

    Machine.kind = kind
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=30, stateful_step_count=25, deadline=None)
    )


def test_the_next_process_may_coordinate_as_soon_as_the_one_before_has_let_go(opened):
    first, second = opened(), opened()
    for turn in range(100):
        one, other = (first, second) if turn % 2 else (second, first)
        with one.coordinating(), pytest.raises(UpgradeBusyError), other.coordinating():
            pass
