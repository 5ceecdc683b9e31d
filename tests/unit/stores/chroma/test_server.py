"""Several processes on one Chroma server; processes and servers that are killed."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("chromadb")

from hotfill.errors import InputError, StoreBusyError, StoreError
from hotfill.stores.chroma import ChromaGallery, turn
from tests import chroma
from tests.unit.stores.chroma.pets import NAMES, NEW, OLD, rows


@pytest.fixture
def place():
    return {"location": chroma.server(), "collection": chroma.fresh_name()}


@pytest.fixture
def pair(place):
    """One gallery as two processes have it open."""
    with (
        ChromaGallery.create(model=OLD, **place) as first,
        ChromaGallery.open(**place) as second,
    ):
        yield first, second


def versions_of(gallery, names=NAMES):
    return np.array([each.version for each in gallery.get(names)])


def test_what_one_process_does_another_sees(pair):
    first, second = pair
    versions = first.upsert(NAMES, rows(0, OLD), space=OLD)
    assert second.count(OLD) == len(NAMES)
    first.add_space(NEW)  # the second has not heard of it
    new = rows(1, NEW)
    first.move(NAMES[:6], new[:6], space=NEW, expected_versions=versions[:6])
    assert [each.space for each in second.get(NAMES)] == [NEW] * 6 + [OLD] * 6
    assert second.vectors(NAMES, OLD).item_ids == tuple(NAMES)
    assert second.search({NEW: new[:1]}, 3)[NEW].item_ids[0][0] == NAMES[0]
    second.upsert(NAMES[:1], rows(2, OLD, 1), space=OLD)
    assert first.get(NAMES[:1])[0].space == OLD
    assert (first.count(OLD), first.count(NEW)) == (7, 5)
    second.claim("mine")
    with pytest.raises(StoreBusyError, match="upgraded by mine"):
        first.claim("other")
    second.release("mine")
    first.claim("other")
    first.release("other")


def test_live_writes_of_one_process_beat_the_moves_of_another_and_no_search_misses_an_item(pair):
    mover, writer = pair
    mover.upsert(NAMES, rows(0, OLD), space=OLD)
    mover.add_space(NEW)
    stale = versions_of(mover)
    live, failures, missed, done = rows(3, NEW), [], [], threading.Event()

    def in_a_thread(work):
        def run():
            try:
                work()
            except BaseException as error:
                failures.append(error)
                done.set()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def move():
        for space in (NEW, OLD, NEW):
            for start in range(0, len(NAMES), 3):
                part = slice(start, start + 3)
                vectors = rows(space.dimension, space)[part]
                mover.move(NAMES[part], vectors, space=space, expected_versions=stale[part])

    def write():
        for i in range(0, len(NAMES), 2):
            writer.upsert([NAMES[i]], live[i : i + 1], space=NEW)

    def search():
        queries = {OLD: rows(4, OLD, 1), NEW: rows(5, NEW, 1)}
        while not done.is_set():
            found = searcher.search(queries, 2 * len(NAMES))
            there = {*found[OLD].item_ids[0], *found[NEW].item_ids[0]}
            missed.append(set(NAMES) - there)

    with ChromaGallery.open(writer._client.location, collection=writer._name) as searcher:
        looking = in_a_thread(search)
        for thread in [in_a_thread(move), in_a_thread(write)]:
            thread.join()
        done.set()
        looking.join()
    assert not failures
    assert len(missed) > 3
    assert not any(missed)
    states = writer.get(NAMES)
    assert [each.version == old for each, old in zip(states, stale, strict=True)] == [
        i % 2 == 1 for i in range(len(NAMES))
    ]
    assert (mover.count(OLD), mover.count(NEW)) == (0, len(NAMES))
    np.testing.assert_allclose(mover.vectors(NAMES[::2], NEW).vectors, live[::2], atol=1e-6)


_KILLED = """
import os, signal, sys
import numpy as np
from hotfill.stores.chroma import ChromaGallery
from tests.unit.stores.chroma.pets import NAMES, NEW, rows
gallery = ChromaGallery.open(sys.argv[1], collection=sys.argv[2])
gallery._items.leave = lambda rows: os.kill(os.getpid(), signal.SIGKILL)
versions = np.array([each.version for each in gallery.get(NAMES)])
gallery.move(NAMES, rows(1, NEW), space=NEW, expected_versions=versions)
"""


def killed_in_a_move(place):
    """Let a process die when its items are on both sides."""
    done = subprocess.run([sys.executable, "-c", _KILLED, place["location"], place["collection"]])
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("embedded", [False, True])
def test_what_a_killed_process_left_on_two_sides_is_repaired(place, tmp_path, embedded):
    if embedded:
        place["location"] = str(tmp_path)
    with ChromaGallery.create(model=OLD, **place) as gallery:
        gallery.upsert(NAMES, rows(0, OLD), space=OLD)
        gallery.add_space(NEW)
        if not embedded:
            killed_in_a_move(place)
            gallery.set_metadata(NAMES[:1], [{"n": 1}])  # whoever writes next repairs first
            check_repaired(gallery)
    if embedded:
        killed_in_a_move(place)
        with ChromaGallery.open(**place) as gallery:
            check_repaired(gallery)
            assert not [name for name in gallery._client.names() if ".turn" in name]


def check_repaired(gallery):
    assert (gallery.count(OLD), gallery.count(NEW)) == (0, len(NAMES))
    assert gallery.vectors(NAMES, OLD).item_ids == tuple(NAMES)
    found = gallery.search({OLD: rows(4, OLD, 1), NEW: rows(5, NEW, 1)}, 50)
    assert (found[OLD].item_ids[0], sorted(found[NEW].item_ids[0])) == ((), sorted(NAMES))


def test_the_turn_of_a_live_process_is_waited_for_and_that_of_a_silent_one_is_taken(
    pair, monkeypatch
):
    first, second = pair
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with first._lock, first._turn.holding(["a"]):
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(60)
    try:
        monkeypatch.setattr(turn, "_PATIENCE_SECONDS", 0.2)
        with pytest.raises(StoreBusyError, match="others write"):
            second.upsert(NAMES, rows(0, OLD), space=OLD)
        monkeypatch.setattr(turn, "GONE_AFTER_SECONDS", 0.1)  # since when it was seen
        second.upsert(NAMES, rows(0, OLD), space=OLD)
        monkeypatch.setattr(turn, "_OWN_SECONDS", 0.0)
        with pytest.raises(StoreBusyError, match="stood still"):
            first._turn.check()
    finally:
        monkeypatch.undo()
        leave.set()
        thread.join()
    assert second.count(OLD) == len(NAMES)
    first.delete(NAMES[:1])  # its own turn is no longer in anybody's way
    assert second.count(OLD) == len(NAMES) - 1


@pytest.mark.slow
def test_a_killed_server_loses_nothing_that_it_acknowledged(tmp_path):
    server = chroma.Server(tmp_path / "server")
    try:
        with ChromaGallery.create(server.address, OLD, timeout_seconds=30) as gallery:
            gallery.add_space(NEW)
            written, stop = {}, threading.Event()

            def write():
                number = 0
                while not stop.is_set():
                    names = [f"item {number + i}" for i in range(5)]
                    vectors = rows(number, OLD, 5)
                    try:
                        versions = gallery.upsert(names, vectors, space=OLD)
                        written.update(dict.fromkeys(names, OLD))
                        moved = gallery.move(
                            names, rows(number, NEW, 5), space=NEW, expected_versions=versions
                        )
                        assert moved.all()
                        written.update(dict.fromkeys(names, NEW))
                    except StoreError as error:
                        if not error.retryable:
                            raise
                        time.sleep(0.05)
                    number += 5

            thread = threading.Thread(target=write)
            thread.start()
            for _ in range(2):
                goal = len(written) + 15
                while len(written) < goal:
                    assert thread.is_alive()
                    time.sleep(0.01)
                server.kill()
                server.start()
            goal = len(written) + 10
            while len(written) < goal:
                assert thread.is_alive()
                time.sleep(0.01)
            stop.set()
            thread.join()
            states = gallery.get(list(written))
            for (name, space), state in zip(written.items(), states, strict=True):
                assert state is not None, name
                assert state.space == NEW or space == OLD
            listed = [*all_of(gallery, OLD), *all_of(gallery, NEW)]
            assert len(listed) == len(set(listed)) == len(gallery)
            assert set(written) <= set(listed)
    finally:
        server.kill()


def all_of(gallery, space):
    return gallery.scan(space, limit=10_000).item_ids


def test_a_server_that_is_away_or_silent_is_an_error_that_may_pass():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(StoreError, match="could not reach") as refused:
            ChromaGallery.open(address, timeout_seconds=0.2)
        held.listen()
        with pytest.raises(StoreError, match="could not reach") as silent:
            ChromaGallery.open(address, timeout_seconds=0.2)
    assert refused.value.retryable
    assert silent.value.retryable
    with pytest.raises(InputError, match="expected a folder or an address"):
        ChromaGallery.open("ftp://localhost")
