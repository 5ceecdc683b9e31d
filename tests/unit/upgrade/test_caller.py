"""Calls into other people's code end in time, and what fails is said of the items at fault."""

from __future__ import annotations

import threading
import time
from contextlib import closing, suppress

import numpy as np
import pytest

from hotfill import retry as retrying
from hotfill.errors import (
    CallTimeoutError,
    ConfigError,
    EmbedError,
    SourceError,
)
from hotfill.upgrade import caller
from hotfill.upgrade.backfill import Backfill, embed_work
from hotfill.upgrade.caller import GivenUpError, PatientCaller, read_what_can_be
from hotfill.upgrade.journal.sqlite import SqliteJournal
from hotfill.upgrade.phases import Phase
from tests.unit.upgrade.small import (
    NEW,
    Projection,
    assert_reembedded,
    contents,
    filled,
    upgrade,
)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(retrying, "RETRY_SECONDS", (0.0,))


@pytest.fixture
def journal(tmp_path):
    with closing(SqliteJournal(tmp_path / "journal.sqlite")) as opened:
        yield opened


@pytest.fixture
def hang():
    """A call that does not return before the test ends."""
    let_go = threading.Event()
    yield lambda *words, **more: let_go.wait(60)
    let_go.set()


class Hangs(Projection):
    """Embeds honestly, but for one call that does not return."""

    def __init__(self, at_call, hang):
        super().__init__(NEW)
        self._at_call, self._hang = at_call, hang

    def __call__(self, contents):
        if self.calls + 1 == self._at_call:
            self.calls += 1
            self._hang()
        return super().__call__(contents)


# One call ----------------------------------------------------------------------------------------


def test_a_call_returns_and_raises_what_it_returns_and_raises():
    with closing(PatientCaller()) as call:
        assert call("x", divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            call("x", divmod, 7, 0)
        assert call("x", sorted, [2, 1], reverse=True) == [2, 1]


def test_calls_are_made_in_one_thread_as_long_as_they_return():
    with closing(PatientCaller()) as call:
        assert len({call("x", threading.get_ident) for _ in range(5)}) == 1


def test_a_call_that_hangs_is_named_and_the_next_one_is_made(hang):
    with closing(PatientCaller(0.2)) as call:
        with pytest.raises(CallTimeoutError, match=r"the embedder has not returned for 0\.2 s"):
            call("the embedder", hang)
        assert call("x", int, "5") == 5


def test_a_call_is_given_up_some_time_after_the_work_was_told_to_stop(hang, monkeypatch):
    monkeypatch.setattr(caller, "STOP_SECONDS", 0.2)
    stop = threading.Event()
    stop.set()
    with closing(PatientCaller(60, stop)) as call:
        assert call("x", int, "5") == 5  # what returns in time is waited for
        with pytest.raises(GivenUpError):
            call("x", hang)


# A backfill --------------------------------------------------------------------------------------


def with_work(journal, source):
    """A gallery whose items all wait to be embedded."""
    gallery = filled(source)
    gallery.add_space(NEW)
    ids = sorted(source)
    journal.add_work("embed", [(ids, [0.0] * len(ids))], 8)
    return gallery


def run(journal, stored, embedder, source=None, **settings):
    gallery = with_work(journal, stored)
    work = embed_work(NEW, source or stored, embedder)
    Backfill(gallery, journal, owner="test", **settings).run(work)


def test_a_hung_embedder_ends_the_run_and_gives_its_batches_back(journal, hang):
    with pytest.raises(CallTimeoutError):
        run(journal, contents(40), Hangs(3, hang), call_seconds=0.3)
    done = journal.tally("embed").moved
    assert done <= 16
    journal.release_leases("test")
    assert journal.workers() == ()


def test_a_hung_source_ends_the_run_too(journal, hang):
    with pytest.raises(CallTimeoutError, match="the source"):
        run(journal, contents(40), Projection(NEW), source=hang, call_seconds=0.3)


def test_a_hung_embedder_does_not_keep_a_stopped_run_from_ending(journal, hang, monkeypatch):
    monkeypatch.setattr(caller, "STOP_SECONDS", 0.2)
    stop = threading.Event()

    def stopping(items):
        stop.set()

    run(journal, contents(40), Hangs(3, hang), stop=stop, after_batch=stopping)
    assert journal.workers() == ()  # and others may have its batches at once


def test_a_process_that_hangs_does_not_prolong_its_leases(journal, hang):
    source = contents(40)
    gallery = with_work(journal, source)
    backfill = Backfill(gallery, journal, owner="test", lease_seconds=0.2, call_seconds=0.2)
    gallery.move = hang  # not the embedder: nothing else would notice

    def run_it():
        with suppress(Exception):  # when the test ends, and lets it go on
            backfill.run(embed_work(NEW, source, Projection(NEW)))

    threading.Thread(target=run_it, daemon=True).start()
    waited = time.monotonic() + 20
    while journal.lease("embed", "another", 60.0) is None or len(journal.workers()) > 1:
        assert time.monotonic() < waited
        time.sleep(0.05)


def test_an_upgrade_whose_embedder_hung_goes_on_with_the_same_command(tmp_path, hang):
    up = upgrade(tmp_path, 60, embed_timeout_seconds=1.0, new_embedder=Hangs(8, hang))
    with pytest.raises(CallTimeoutError):
        up.start()
    (held,) = up.journal.holds()
    assert (held.kind, up.journal.phase) == ("error", Phase.BACKFILLING)
    assert "embed_timeout_seconds" in held.about
    up.start()
    assert_reembedded(up.gallery, up.source)


def test_an_embedder_that_hangs_while_the_maps_are_fitted_ends_the_command(tmp_path, hang):
    up = upgrade(tmp_path, 60, embed_timeout_seconds=1.0, new_embedder=Hangs(1, hang))
    with pytest.raises(CallTimeoutError):
        up.start()
    assert up.journal.phase is Phase.PLANNED
    up.start()
    assert_reembedded(up.gallery, up.source)


def test_a_buffer_that_the_embedder_uses_again_is_copied_before_the_next_call(tmp_path):
    class OneBuffer(Projection):
        """Returns a part of the same array each time, as pinned memory or ONNX bindings do."""

        def __init__(self):
            super().__init__(NEW)
            self._buffer = np.zeros((64, NEW.dimension), np.float32)

        def __call__(self, contents):
            made = super().__call__(contents)
            self._buffer[: len(made)] = made
            return self._buffer[: len(made)]

    up = upgrade(tmp_path, 150, new_embedder=OneBuffer())
    up.start()
    assert_reembedded(up.gallery, up.source)


# Sources, and what is no item's fault ------------------------------------------------------------


class RaisesFor(dict):
    """A source that cannot read some items: then it reads none."""

    def __init__(self, source, broken, error=ValueError):
        super().__init__(source)
        self._broken, self._error = broken, error

    def __call__(self, item_ids):
        for item_id in item_ids:
            if item_id in self._broken:
                raise self._error(f"{item_id}: damaged")
        return {item_id: self[item_id] for item_id in item_ids if item_id in self}


@pytest.mark.parametrize("error", [ValueError, OSError, SourceError, KeyError])
def test_a_source_that_fails_for_one_item_is_narrowed_down_to_it(tmp_path, error):
    source = contents(40)
    up = upgrade(tmp_path, gallery=filled(source), source=RaisesFor(source, {"item-00007"}, error))
    up.start()
    assert [each.item_id for each in up.journal.dead_letters()] == ["item-00007"]
    assert up.gallery.count(NEW, origin=NEW.fingerprint) == 39


def test_an_outage_of_the_source_is_no_items_fault(tmp_path):
    source = contents(40)
    away = RaisesFor(source, {"item-00007"}, lambda text: SourceError("is away", retryable=True))
    up = upgrade(tmp_path, gallery=filled(source), source=away)
    with pytest.raises(SourceError, match="is away"):
        up.start()
    assert up.journal.dead_letters() == ()


@pytest.mark.parametrize("given", [None, [], "text"])
def test_a_source_that_gives_no_mapping_is_told_so(tmp_path, given):
    up = upgrade(tmp_path, gallery=filled(contents(40)), source=lambda item_ids: given)
    with pytest.raises(ConfigError, match="expected a mapping from item id to content"):
        up.start()
    assert up.journal.dead_letters() == ()


def test_reading_what_can_be_leaves_out_what_cannot():
    source = contents(20)
    failures = []
    broken = {"item-00003", "item-00011"}
    with closing(PatientCaller()) as call:
        read = read_what_can_be(RaisesFor(source, broken), sorted(source), call, failures)
    assert set(read) == set(source) - broken
    assert len(failures) >= 2


class SmallMemory(Projection):
    """An embedder whose device holds few contents at once."""

    def __init__(self, room, error):
        super().__init__(NEW)
        self._room, self._error = room, error

    def __call__(self, contents):
        if len(contents) > self._room:
            raise self._error("no memory left")
        return super().__call__(contents)


class OutOfMemoryError(RuntimeError):
    """As torch's."""


@pytest.mark.parametrize("error", [MemoryError, OutOfMemoryError])
def test_a_batch_that_does_not_fit_into_memory_is_made_in_parts(tmp_path, error):
    up = upgrade(tmp_path, 40, new_embedder=SmallMemory(3, error))
    up.start()
    assert_reembedded(up.gallery, up.source)


@pytest.mark.parametrize("error", [MemoryError, OutOfMemoryError])
def test_a_lack_of_memory_makes_no_dead_letters(tmp_path, error):
    embedder = SmallMemory(8, error)
    up = upgrade(tmp_path, 40, new_embedder=embedder)
    half_way = up.journal.finish

    def finish(*words, **more):
        embedder._room = 0
        half_way(*words, **more)

    up.journal.finish = finish
    with pytest.raises(error):
        up.start()
    assert up.journal.dead_letters() == ()


def test_an_embedder_that_raises_for_everything_is_told_apart_from_bad_items(tmp_path):
    up = upgrade(tmp_path, 200, max_dead_letters=3, fit_items=0)

    class Refuses(Projection):
        def __call__(self, contents):
            raise EmbedError("cannot read it", retryable=False)

    up.new_embedder = Refuses(NEW)
    with pytest.raises(EmbedError, match="hotfill dead-letters"):
        up.start()
    assert len(up.journal.dead_letters()) == 4
