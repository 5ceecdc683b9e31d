"""What once went wrong around the work itself: stopping early, full stores, tidying, leftovers."""

from __future__ import annotations

import os
import threading
import time

import pytest

from hotfill import retry as retrying
from hotfill.errors import EmbedError, StoreBusyError, StoreError, StoreFullError
from hotfill.locks import FolderLock
from hotfill.stores.base import Capabilities
from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade import control, pace, worker
from hotfill.upgrade import indexes as tidying
from hotfill.upgrade.engine import IMPUTED_AT_ONCE
from hotfill.upgrade.indexes import Tidying
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.worker import Worker
from tests.unit.upgrade.small import (
    NEW,
    OLD,
    Projection,
    assert_reembedded,
    contents,
    filled,
    upgrade,
)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(pace, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(worker, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(retrying, "RETRY_SECONDS", ())


class Calling:
    """An embedder made of a function."""

    def __init__(self, function):
        self.model_id, self.function = NEW, function

    def __call__(self, rows):
        return self.function(rows)


def test_a_start_that_fails_before_it_is_prepared_leaves_no_space_in_the_store(tmp_path):
    def down(rows):
        raise EmbedError("the endpoint is down")

    up = upgrade(tmp_path, new_embedder=Calling(down))
    with pytest.raises(EmbedError):
        up.start()
    assert up.gallery.spaces == (OLD,)
    assert up.status().phase is Phase.PLANNED


def test_a_stop_while_it_is_being_prepared_is_obeyed_and_leaves_no_space(tmp_path):
    calls = []

    def stop_first(rows):
        calls.append(len(rows))
        up.stop()
        return Projection(NEW)(rows)

    up = upgrade(tmp_path, new_embedder=Calling(stop_first))
    assert up.start().phase is Phase.PLANNED
    assert calls == [8]
    assert up.gallery.spaces == (OLD,)
    up.new_embedder = Projection(NEW)
    assert up.start().phase is Phase.BACKFILLED


def test_an_abort_of_a_paused_upgrade_does_not_wait_for_a_resume(tmp_path):
    up = upgrade(tmp_path)
    embedder = Projection(NEW)

    def stop_after_a_while(rows):
        if embedder.calls > 9:
            up.stop()
        return embedder(rows)

    up.new_embedder = Calling(stop_after_a_while)
    up.start()
    assert 0 < up.gallery.count(NEW, origin=NEW.fingerprint) < 100
    control.pause(up.journal, by="anna")
    assert up.abort().phase is Phase.ABORTED
    assert up.journal.holds() == ()
    assert up.gallery.count(OLD) == 100


class ManyProcesses(MemoryGallery):
    """Says that it takes many processes, and has no room for the first moves."""

    full = 2

    @property
    def capabilities(self):
        return type(super().capabilities)(
            atomic_move=True, snapshot_reads=True, many_processes=True
        )

    def move(self, *args, **kwargs):
        if self.full:
            self.full -= 1
            raise StoreFullError("no space left")
        return super().move(*args, **kwargs)


def test_a_worker_that_meets_a_full_store_holds_everybody_until_there_is_room(tmp_path):
    source = contents(60)
    gallery = filled(source, ManyProcesses(OLD))
    up = upgrade(tmp_path, gallery=gallery, source=source)
    up.on_phase = lambda phase: up.stop()  # prepared, and no more
    up.start()
    up.on_phase = lambda phase: up.stop() if phase is Phase.BACKFILLED else None
    up.journal.add_work("embed", [(list(source), [0.0] * 60)], 8)
    up.journal.enter(Phase.BACKFILLING)
    one = Worker(gallery, up.journal, up.plan_in_force, source, Projection(NEW))
    runner = threading.Thread(target=one.run)
    runner.start()
    for number in range(2):
        while not (holds := up.journal.holds()):
            assert runner.is_alive()
        assert str(holds[0]) == "error (StoreFullError: no space left)", number
        assert gallery.count(NEW) == 0
        assert control.resume(up.journal) is True
    while up.journal.tally("embed").left:
        assert runner.is_alive()
    one.stop.set()
    runner.join(20)
    assert_reembedded(gallery, source)


@pytest.mark.parametrize("phase", [Phase.SUPERSEDED, Phase.ABORTING, Phase.BACKFILLED])
def test_a_worker_that_wakes_up_when_its_work_is_over_moves_nothing(tmp_path, phase):
    source = contents(60)
    gallery = filled(source, ManyProcesses(OLD))
    gallery.full = 0
    up = upgrade(tmp_path, gallery=gallery, source=source)
    up.on_phase = lambda phase: up.stop()  # prepared, and no more
    up.start()
    up.journal.add_work("embed", [(list(source), [0.0] * 60)], 8)
    up.journal.enter(Phase.BACKFILLING)

    def hang(rows):
        up.journal.enter(phase)
        return Projection(NEW)(rows)

    one = Worker(gallery, up.journal, up.plan_in_force, source, Calling(hang))
    assert one.run() is phase
    assert gallery.count(NEW) == 0
    assert up.journal.lease("embed", "another", 60.0) is not None  # it kept nothing to itself


def test_the_status_does_not_count_dead_letters_that_were_mended(tmp_path):
    source = contents(40)
    names = ["item-00003", "item-00007", "item-00011"]
    broken = {float(source[name][0]) for name in names}
    up = upgrade(tmp_path, source=source, new_embedder=Projection(NEW, broken), strategy="merge")
    assert up.start().dead_letters == 3
    up.gallery.delete([names[0]])  # not through hotfill, so nobody told the journal
    source[names[1]] = contents(1, seed=5)["item-00000"]
    up.gallery.upsert([names[1]], Projection(NEW)([source[names[1]]]), space=NEW)
    assert not up.verify().passed
    assert up.status().dead_letters == 1
    assert [each.item_id for each in up.journal.dead_letters()] == [names[2]]


class Tidied(MemoryGallery):
    """Counts what is asked of it, and takes its time."""

    def __init__(self, model):
        super().__init__(model)
        self.calls, self.gate, self.error = [], threading.Event(), None

    def optimise(self, *, moving=False):
        self.calls.append(threading.current_thread().name)
        self.gate.wait(20)
        if self.error:
            raise self.error


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(tidying, "LEAST_ITEMS", 1)


def test_a_long_backfill_tidies_the_store_up_and_no_batch_waits_for_it(tmp_path, often):
    source = contents(100)
    gallery = filled(source, Tidied(OLD))
    up = upgrade(tmp_path, gallery=gallery, source=source)
    runner = threading.Thread(target=up.start)
    runner.start()
    while not up.journal.tally("embed").total or up.journal.tally("embed").left:
        assert runner.is_alive()
    assert gallery.calls == ["hotfill-tidying"], "one at a time"
    gallery.gate.set()
    runner.join(20)
    assert up.status().phase is Phase.BACKFILLED
    assert len(list(up.journal.facts("optimise"))) == len(gallery.calls)


def test_it_tidies_after_every_tenth_and_can_be_told_not_to(tmp_path, often):
    source = contents(100)
    gallery = filled(source, Tidied(OLD))
    gallery.gate.set()
    up = upgrade(tmp_path, gallery=gallery, source=source)
    tidy = Tidying(gallery, up.journal)
    for _ in range(100):
        tidy.after_batch(1, "embed")
        tidy.finish(lambda: True)
    assert len(gallery.calls) == 10
    quiet = upgrade(tmp_path, gallery=gallery, source=source, optimise=False)
    quiet.start()
    assert len(gallery.calls) == 10


def test_where_an_index_slows_moves_the_store_is_tidied_up_once_at_the_end(tmp_path, often):
    source = contents(100)

    class Late(Tidied):
        capabilities = Capabilities(
            atomic_move=True,
            snapshot_reads=True,
            many_processes=False,
            optimise_while_moving=False,
        )

        def optimise(self, *, moving=False):
            assert self.count(OLD) == 0
            assert not moving
            super().optimise()

    gallery = filled(source, Late(OLD))
    gallery.gate.set()
    up = upgrade(tmp_path, gallery=gallery, source=source)
    assert up.start().phase is Phase.BACKFILLED
    assert len(gallery.calls) == 1


def test_a_store_that_cannot_tidy_up_does_not_stop_the_upgrade(tmp_path, often):
    source = contents(60)
    gallery = filled(source, Tidied(OLD))
    gallery.gate.set()
    gallery.error = StoreError("no room for a second copy")
    up = upgrade(tmp_path, gallery=gallery, source=source)
    assert up.start().phase is Phase.BACKFILLED
    assert up.journal.last("optimise").body == {"error": "no room for a second copy"}


def test_who_has_a_store_open_is_told_by_number(tmp_path):
    lock = FolderLock(tmp_path)
    with pytest.raises(StoreBusyError) as caught:
        FolderLock(tmp_path)
    lock.release()
    assert caught.value.pid == os.getpid()


class Bounded(Tidied):
    """Says that searches stay quick with ten vectors without an index."""

    capabilities = Capabilities(
        atomic_move=True,
        snapshot_reads=True,
        many_processes=False,
        unindexed_bytes=10 * 4 * max(OLD.dimension, NEW.dimension),
    )

    def optimise(self, *, moving=False):
        self.moving.append(moving)
        super().optimise()


def test_moves_wait_for_the_index_where_a_store_says_what_may_be_without(tmp_path):
    source = contents(400)
    gallery = filled(source, Bounded(OLD))
    gallery.moving = []
    up = upgrade(tmp_path, gallery=gallery, source=source, batch_size=5)
    runner = threading.Thread(target=up.start)
    runner.start()
    while not gallery.calls:
        assert runner.is_alive()
    held = 0.0
    while held < 0.5:  # as much again moves, and what is in hand
        before = gallery.count(NEW)
        time.sleep(0.1)
        held = held + 0.1 if gallery.count(NEW) == before else 0.0
    in_hand = 7 * 5 * IMPUTED_AT_ONCE
    assert 20 <= gallery.count(NEW) <= 2 * 5 * IMPUTED_AT_ONCE + in_hand < 400
    assert up._open_state.progress.doing == "indexing"
    gallery.gate.set()
    runner.join(20)
    assert up.status().phase is Phase.BACKFILLED
    assert len(gallery.calls) >= 5
    assert gallery.moving == [True] * len(gallery.calls)


def test_the_way_back_is_indexed_as_it_goes_where_a_store_bounds_what_has_none(tmp_path):
    source = contents(100)
    gallery = filled(source, Bounded(OLD))
    gallery.moving = []
    gallery.gate.set()
    up = upgrade(tmp_path, gallery=gallery, source=source, batch_size=5)
    up.start()
    before = len(gallery.calls)
    up.abort()
    assert len(gallery.calls) > before
    assert not any(thread.name == "hotfill-tidying" for thread in threading.enumerate())
