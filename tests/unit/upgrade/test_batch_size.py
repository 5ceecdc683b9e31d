"""`batch_size = "auto"`: as many items as pay, found while batches are worked on."""

from __future__ import annotations

import math
import threading
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade import pace
from hotfill.upgrade.backfill import Backfill, embed_work
from hotfill.upgrade.journal.base import Tally
from hotfill.upgrade.journal.sqlite import SqliteJournal
from hotfill.upgrade.pace import MOST_BATCH, BatchSize, Pace, Progress, content_bytes
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.plan import LEAST_BATCH, Plan
from hotfill.upgrade.status import take_status
from tests.unit.upgrade.small import NEW, OLD, Contents, Projection, contents, filled, upgrade

LADDER = [LEAST_BATCH * 2**rung for rung in range(9)]
assert LADDER[-1] == MOST_BATCH


class Facts:
    """Of a journal only what is needed here: facts of one kind."""

    def __init__(self):
        self.noted = []

    def facts(self, kind):
        return [SimpleNamespace(body=body) for body in self.noted]

    def record(self, kind, **body):
        assert kind == "batch_size"
        self.noted.append(body)


def taken(seconds, *, facts=None, batches=200, bytes_each=0, dimension=8, **options):
    """Work through batches that take so long each; return the sizes that they had."""
    size = BatchSize(facts or Facts(), "embed", dimension, **options)
    sizes = []
    for _ in range(batches):
        sizes.append(size.next())
        size.note(sizes[-1], sizes[-1], seconds(sizes[-1]), bytes_each * sizes[-1])
    return sizes


def found(seconds):
    """Return the size that is found first."""
    facts = Facts()
    size = BatchSize(facts, "embed", 8)
    while not facts.noted:
        items = size.next()
        size.note(items, items, seconds(items), 0)
    return facts.noted[0]["items"]


def stepped(capacity):
    """What takes so many items at once, in one and the same time."""
    return lambda items: 0.5 * math.ceil(items / capacity)


# Which size is found --------------------------------------------------------------------------


@given(st.sampled_from([*LADDER, 8, 2 * MOST_BATCH]))
def test_the_least_size_is_found_at_which_a_model_is_full(capacity):
    seconds = stepped(capacity)
    rate_of = {items: items / seconds(items) for items in LADDER}
    assert found(seconds) == min(LADDER, key=lambda items: (-rate_of[items], items))


@given(st.floats(1e-3, 1.0), st.floats(1e-4, 1e-3))
def test_with_a_cost_for_each_batch_what_is_found_is_nearly_as_quick_as_any(batch, item):
    rate_of = {items: items / (batch + item * items) for items in LADDER}
    last = found(lambda items: batch + item * items)
    assert rate_of[last] >= max(rate_of.values()) / 1.07
    # And no size is kept that a quarter of the items would do as well for.
    assert all(rate_of[last] > 1.05 * rate_of[less] for less in LADDER if less <= last / 4)


@given(st.sampled_from(LADDER))
def test_where_more_items_become_slower_the_quickest_is_found(best):
    assert found(lambda items: 0.5 * max(1.0, items / best) ** 2) == best


@given(data=st.data(), capacity=st.sampled_from(LADDER))
def test_two_slow_batches_of_each_size_change_nothing(data, capacity):
    slow = {items: data.draw(st.sets(st.integers(0, 4), max_size=2)) for items in LADDER}
    times: Counter[int] = Counter()

    def seconds(items):
        times[items] += 1
        return stepped(capacity)(items) * (9 if times[items] - 1 in slow[items] else 1)

    assert found(seconds) == capacity


def test_it_looks_again_after_a_while_and_follows_what_has_changed():
    facts = Facts()

    def slowly(capacity):
        return lambda items: 2 * stepped(capacity)(items)

    assert taken(slowly(512), facts=facts)[-1] == 512
    larger = taken(slowly(2048), facts=facts, batches=700)
    assert (larger[0], larger[-1]) == (512, 2048)
    # A size that takes 30 times as long now: down by halves, each after a while.
    assert taken(slowly(64), facts=facts, batches=700)[-1] == 64
    assert facts.noted[0] == {"stage": "embed", "items": 512}
    assert facts.noted[-1] == {"stage": "embed", "items": 64}


def test_what_is_clearly_better_is_seen_after_five_batches_and_what_is_not_after_a_second():
    sizes = taken(lambda items: 1e-3 * math.ceil(items / 64), batches=5000)
    assert sizes[:15] == [16] * 5 + [32] * 5 + [64] * 5
    assert (sizes.count(128), sizes.count(256)) == (500, 250)


# What bounds it -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "most"),
    [
        ({"dimension": 8}, MOST_BATCH),
        ({"dimension": 4096}, 2048),
        ({"bytes_each": 150_528}, 128),  # pictures of 224 x 224
        ({"bytes_each": 36_000_000}, LEAST_BATCH),
        ({"call_seconds": 2.0}, 512),  # a longer one would be given up
    ],
)
def test_memory_and_time_bound_a_batch(bounds, most):
    def seconds(items):
        return 0.4 + items / 4096

    assert max(taken(seconds, **bounds)) == most


def test_small_batches_of_what_failed_teach_nothing():
    size = BatchSize(Facts(), "embed", 8)
    for _ in range(5):
        size.note(16, 16, 1.0, 0)
    for items in (1, 8, 16):
        size.note(32, items, 1000.0, 0)
    for _ in range(5):
        size.note(32, 32, 1.0, 0)
    assert size.next() == 64


def test_contents_that_become_larger_make_batches_smaller():
    size = BatchSize(Facts(), "embed", 8)
    for _ in range(5):
        size.note(16, 16, 1.0, 0)
    for _ in range(5):
        size.note(32, 32, 1.0, 0)
    assert size.next() == 64
    size.note(64, 64, 1.0, 64 * 2**20)
    assert size.next() == 32


@pytest.mark.parametrize(
    ("content", "size"),
    [
        ("text", 4),
        (b"bytes", 5),
        (np.zeros((2, 3), np.float32), 24),
        ({"title": "ab", "picture": b"abc"}, 5),
        (["ab", (b"c", 7)], 3),
        (SimpleNamespace(getbands=lambda: ("R", "G", "B"), width=4, height=2), 24),
        (17, 0),
        (None, 0),
    ],
)
def test_contents_tell_how_much_memory_they_take(content, size):
    assert content_bytes(content) == size


def test_what_had_no_memory_is_never_tried_again():
    size = BatchSize(Facts(), "embed", 8)
    taken = []
    for _ in range(100_000):
        taken.append(size.next())
        if taken[-1] > 100:
            size.too_large(taken[-1])
        else:
            size.note(taken[-1], taken[-1], 0.5, 0)
    assert [items for items in taken if items > 100] == [128]
    assert taken[-1] == 64


# While searches are slow ----------------------------------------------------------------------


def test_it_does_not_grow_while_a_limit_throttles_and_halves_once_between_two_batches(
    tmp_path,
):
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    journal.enter(Phase.BACKFILLING)
    measured, size = [1.0], BatchSize(journal, "embed", 8)
    ask = Pace(
        journal=journal,
        probes={"search_p99_milliseconds": lambda: measured[0]},
        limits={"search_p99_milliseconds": 150.0},
        duty_cycle=1.0,
        phase=Phase.BACKFILLING,
        progress=Progress(),
        batch_size=size,
    )

    def batches(number, seconds):
        for _ in range(number):
            assert ask() == 0.0
            items = size.next()
            size.note(items, items, seconds, 0)
        return size.next()

    assert batches(25, 0.5) == 512
    for now in (256, 128, 64, 32, 16, 16):
        measured[0] = 151.0
        assert [ask() > 0 for _ in range(5)] == [True] * 5
        # What was in hand goes on being moved, at whatever pace, and makes nothing grow.
        for items in [*LADDER[LADDER.index(2 * now) :], *[16] * (now == 16)]:
            size.note(items, items, 1e-3, 0)
            assert ask() > 0
        measured[0] = 20.0
        assert ask() == 0.0
        assert size.next() == now
    assert batches(5, pace._CALM_SECONDS / 6) == 16
    assert batches(2, pace._CALM_SECONDS / 6) == 16  # now it tries again
    assert batches(10, 0.5) == 64
    journal.close()


# At work --------------------------------------------------------------------------------------


class HandClock:
    """The time of each hand: what it spends itself, or in the thread that calls for it."""

    def __init__(self):
        self._hand = ContextVar("hand")

    def _mine(self):
        if self._hand.get(None) is None:
            self._hand.set([0.0])
        return self._hand.get()

    def __call__(self):
        return self._mine()[0]

    def spend(self, seconds):
        self._mine()[0] += seconds


@dataclass
class Costly:
    """An embedder whose calls take a known time, and which remembers what it was given."""

    clock: HandClock
    seconds: object
    model_id: object = NEW
    given: list[int] = field(default_factory=list)
    rows: Counter = field(default_factory=Counter)

    def __call__(self, rows):
        self.given.append(len(rows))
        self.rows.update(row.tobytes() for row in rows)
        self.clock.spend(self.seconds(len(rows)))
        return Projection(NEW)(rows)


class CostlyGallery(MemoryGallery):
    """A store whose moves take a known time."""

    clock: HandClock
    seconds: object

    def _move(self, *words, **how):
        self.clock.spend(self.seconds(len(words[0])))
        return super()._move(*words, **how)


@pytest.fixture
def journal(tmp_path):
    made = SqliteJournal(tmp_path / "journal.sqlite")
    yield made
    made.close()


def planned(journal, source, gallery=None, cut=LEAST_BATCH):
    gallery = filled(source, gallery)
    gallery.add_space(NEW)
    ids = sorted(source)
    journal.add_work("embed", [(ids, [0.0] * len(ids))], cut)
    return gallery


def run(journal, source, gallery, embedder, clock, owner="test", **options):
    size = BatchSize(journal, "embed", NEW.dimension)
    Backfill(gallery, journal, owner=owner, batch_size=size, clock=clock, **options).run(
        embed_work(NEW, source, embedder)
    )
    return size


def noted(journal):
    return [fact.body["items"] for fact in journal.facts("batch_size")]


@pytest.mark.parametrize("capacity", [16, 32, 64])
def test_a_backfill_finds_where_the_embedder_is_full_and_moves_each_item_once(journal, capacity):
    source, clock = contents(8000), HandClock()
    gallery = planned(journal, source)
    embedder = Costly(clock, stepped(capacity))
    run(journal, source, gallery, embedder, clock)
    assert noted(journal) == [capacity]
    # Sizes that were looked at beyond it, and then it alone but for the rest.
    assert max(embedder.given) == 4 * capacity
    assert embedder.given[-2] == capacity
    assert journal.tally("embed") == Tally(8000, 8000, 0)
    assert gallery.count(NEW) == 8000
    assert set(embedder.rows.values()) == {1}


def test_a_backfill_finds_what_the_store_takes_where_that_is_the_slower_one(journal):
    source, clock = contents(8000), HandClock()
    gallery = CostlyGallery(OLD)
    gallery.clock, gallery.seconds = clock, lambda items: 0.0
    planned(journal, source, gallery)
    gallery.seconds = lambda items: 0.4 + items * 0.1
    run(journal, source, gallery, Costly(clock, lambda items: items * 1e-3), clock)
    rate_of = {items: items / gallery.seconds(items) for items in LADDER}
    (last,) = noted(journal)
    assert rate_of[last] >= max(rate_of.values()) / 1.07
    assert journal.tally("embed") == Tally(8000, 8000, 0)


def test_the_next_run_and_other_workers_begin_with_what_was_found(journal):
    source, clock = contents(9000), HandClock()
    gallery = planned(journal, source)
    stop, embedder = threading.Event(), Costly(clock, stepped(64))
    run(
        journal,
        source,
        gallery,
        embedder,
        clock,
        stop=stop,
        after_batch=lambda items: None,
        pace=lambda: None if noted(journal) else 0.0,
    )
    assert noted(journal) == [64]
    assert 0 < journal.tally("embed").left < 9000
    again = Costly(clock, stepped(64))
    run(journal, source, gallery, again, clock, owner="another")
    # Batches that the first had given back keep their size; there are none here.
    assert {*again.given[:-1]} == {64}
    assert noted(journal) == [64]
    assert journal.tally("embed") == Tally(9000, 9000, 0)
    assert set((embedder.rows + again.rows).values()) == {1}


def test_several_workers_on_one_journal_each_find_their_own_and_do_each_item_once(journal):
    source = contents(12_000)
    gallery = planned(journal, source)
    workers = []
    for capacity in (16, 32, 64):
        clock = HandClock()
        workers.append((clock, Costly(clock, stepped(capacity))))
    threads = [
        threading.Thread(
            target=run, args=(journal, source, gallery, embedder, clock, f"worker-{place}")
        )
        for place, (clock, embedder) in enumerate(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = sum((embedder.rows for _, embedder in workers), Counter())
    assert (len(rows), set(rows.values())) == (12_000, {1})
    assert journal.tally("embed") == Tally(12_000, 12_000, 0)
    assert gallery.count(NEW) == 12_000
    assert {*noted(journal)} <= {16, 32, 64}
    assert noted(journal)


def test_an_embedder_without_enough_memory_gets_fewer_and_no_item_is_lost(journal):
    source, clock = contents(3000), HandClock()
    gallery = planned(journal, source)

    def seconds(items):
        if items > 100:
            raise MemoryError("the device is full")
        return 0.5

    embedder = Costly(clock, seconds)
    run(journal, source, gallery, embedder, clock)
    # Those in hand when it was noticed; what is put back comes in halves.
    assert sum(items > 100 for items in embedder.given) <= 12
    assert max(embedder.given) <= 128
    assert noted(journal)[-1] == 64
    assert gallery.count(NEW) == 3000
    assert journal.dead_letters() == ()


def test_batches_that_were_cut_by_a_number_are_joined_but_not_cut(journal):
    source, clock = contents(9000), HandClock()
    gallery = planned(journal, source, cut=100)
    embedder = Costly(clock, stepped(100))
    run(journal, source, gallery, embedder, clock)
    assert min(embedder.given) == 100
    assert max(embedder.given) == 400
    assert noted(journal) == [100]
    assert journal.tally("embed") == Tally(9000, 9000, 0)


def test_batches_of_which_little_is_left_to_do_teach_nothing(journal):
    source, clock = contents(2000), HandClock()
    gallery = planned(journal, source)
    done = [item for number, item in enumerate(sorted(source)) if number % 16]
    rows = [source[item] for item in done]
    versions = np.array([state.version for state in gallery.get(done)])
    gallery.move(
        done, Projection(NEW)(rows), space=NEW, expected_versions=versions, origin=NEW.fingerprint
    )
    size = run(journal, source, gallery, Costly(clock, stepped(64)), clock)
    assert size.next() == LEAST_BATCH
    assert journal.tally("embed") == Tally(2000, 125, 1875)


@given(
    broken=st.sets(st.integers(0, 299), max_size=20),
    capacity=st.sampled_from([16, 64]),
)
@settings(deadline=None, max_examples=10)
def test_broken_items_become_dead_letters_whatever_batch_they_are_in(
    tmp_path_factory, broken, capacity
):
    journal = SqliteJournal(tmp_path_factory.mktemp("journal") / "journal.sqlite")
    source, clock = contents(300), HandClock()
    ids = sorted(source)
    gallery = planned(journal, source)
    honest = Projection(NEW, {float(source[ids[place]][0]) for place in broken})

    def embedder(rows):
        clock.spend(stepped(capacity)(len(rows)))
        return honest(rows)

    embedder.model_id = NEW
    run(journal, source, gallery, embedder, clock)
    assert {each.item_id for each in journal.dead_letters()} == {ids[place] for place in broken}
    assert gallery.count(NEW) == 300 - len(broken)
    journal.close()


# In an upgrade --------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["merge", "prefill"])
def test_an_upgrade_says_what_it_found_and_goes_all_the_way_back(tmp_path, strategy):
    up = upgrade(
        tmp_path,
        3000,
        batch_size="auto",
        strategy=strategy,
        transform="bridge",
        fitting=None,
        fit_items=200,
        refresh=False,
    )
    assert up.start().phase is Phase.BACKFILLED
    status = up.status()
    assert status.batch_size in LADDER
    assert status.to_dict()["batch_size"] == status.batch_size
    assert up.verify().passed
    up.cutover()
    assert up.rollback().phase is Phase.ROLLED_BACK
    assert up.gallery.count(OLD) == 3000


def test_a_budget_is_kept_to_the_item_and_spent_on_the_first_of_the_order(tmp_path):
    up = upgrade(
        tmp_path,
        2000,
        batch_size="auto",
        backfill="budget",
        budget_items=1003,
        order="priority",
        priority_key="number",
        transform="bridge",
        fitting=None,
        fit_items=200,
    )
    assert up.start().phase is Phase.BACKFILLED
    own = NEW.fingerprint
    assert up.gallery.count(NEW, origin=own) == 1003
    numbers = [int(item.removeprefix("item-")) for item in embedded(up.gallery, own)]
    assert min(numbers) == 2000 - 1003


def embedded(gallery, origin):
    page = gallery.scan(NEW, limit=10**4)
    return [
        item for item, made_by in zip(page.item_ids, page.origins, strict=True) if made_by == origin
    ]


def test_nothing_grows_while_searches_are_slow_and_the_backfill_ends_all_the_same(tmp_path):
    asked = [0]
    sizes = []

    def slow_every_other_time():
        asked[0] += 1
        return 500.0 if asked[0] % 2 else 20.0

    class Watched(Projection):
        def __call__(self, rows):
            sizes.append(len(rows))
            return super().__call__(rows)

    up = upgrade(
        tmp_path,
        300,
        batch_size="auto",
        strategy="merge",
        new_embedder=Watched(NEW),
        probes={"search_p99_milliseconds": slow_every_other_time},
        limits={"search_p99_milliseconds": 150.0},
    )
    assert up.start().phase is Phase.BACKFILLED
    assert max(sizes[1:]) == LEAST_BATCH  # the first are the pairs that are fitted on
    assert up.status().batch_size == LEAST_BATCH


def test_a_number_is_a_number_and_nothing_is_found(tmp_path):
    up = upgrade(tmp_path, 100)
    up.start()
    assert up.status().batch_size is None
    assert up.journal.last("batch_size") is None


def test_a_status_says_what_the_running_process_takes_and_then_what_was_noted(journal):
    plan = Plan(OLD, NEW, batch_size="auto")
    assert take_status(journal, plan).batch_size is None
    journal.record("batch_size", stage="embed", items=512)
    assert take_status(journal, plan).batch_size == 512
    journal.beat(pid=None, batch_size=64)
    assert take_status(journal, plan).batch_size == 64
    assert take_status(journal, Plan(OLD, NEW, batch_size=64)).batch_size is None


def test_the_source_may_hand_out_large_contents_and_batches_stay_small(journal):
    rows, clock = contents(600), HandClock()
    gallery = planned(journal, rows)

    class Large(Contents):
        """Each content is as large as a picture, in memory that all of them share."""

        def __call__(self, item_ids):
            return {item: row.view(Shared) for item, row in super().__call__(item_ids).items()}

    class Shared(np.ndarray):
        nbytes = 2**20

    class Embedder(Costly):
        def __call__(self, some):
            return super().__call__([row.view(np.ndarray) for row in some])

    embedder = Embedder(clock, stepped(4096))
    run(journal, Large(rows), gallery, embedder, clock)
    assert max(embedder.given) <= 32
