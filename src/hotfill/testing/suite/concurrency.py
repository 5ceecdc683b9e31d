"""Searches, reads and writes from several threads at once."""

import sys
import threading

import numpy as np
import pytest

from hotfill.testing.models import NEW, OLD

N = 120


@pytest.fixture
def threads_take_turns_often():
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


def run_beside(work, until):
    """Run `work` again and again in a second thread until `until` returns; give its failures."""
    failures, done = [], threading.Event()

    def loop():
        try:
            while not done.is_set():
                work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        until()
    finally:
        done.set()
        thread.join()
    if failures:
        raise failures[0]


def there_and_back(gallery, names, rows, versions, enough):
    def moves():
        for _ in range(500):
            for space in (NEW, OLD):
                vectors = rows(N, space)
                for start in range(0, N, 15):
                    part = slice(start, start + 15)
                    gallery.move(
                        names[part], vectors[part], space=space, expected_versions=versions[part]
                    )
            if enough():
                return

    return moves


@pytest.mark.usefixtures("threads_take_turns_often")
def test_no_item_is_missing_from_a_search_while_items_move(store, rows):
    gallery = store.gallery(OLD, NEW)
    names = [f"item{i}" for i in range(N)]
    versions = gallery.upsert(names, rows(N, OLD), space=OLD)
    queries = {OLD: rows(1, OLD), NEW: rows(1, NEW)}
    searches = []

    def search():
        hits = gallery.search(queries, 2 * N)
        old, new = hits[OLD].item_ids[0], hits[NEW].item_ids[0]
        assert set(old) | set(new) == set(names)
        assert len(set(old)) == len(old)
        assert len(set(new)) == len(new)
        if old and new:
            searches.append(len(new))

    run_beside(search, there_and_back(gallery, names, rows, versions, lambda: len(searches) >= 30))
    assert len(searches) >= 30  # in the middle of the moves, not before or after
    assert gallery.count(OLD) == N


@pytest.mark.usefixtures("threads_take_turns_often")
def test_every_item_has_one_side_and_both_vectors_while_items_move(store, rows):
    gallery = store.gallery(OLD, NEW)
    names = [f"item{i}" for i in range(N)]
    versions = gallery.upsert(names, rows(N, OLD), space=OLD)

    reads = []

    def read():
        assert all(state is not None for state in gallery.get(names))
        assert gallery.vectors(names, OLD).item_ids == tuple(names)
        reads.append(1)

    run_beside(read, there_and_back(gallery, names, rows, versions, lambda: len(reads) >= 30))
    assert len(reads) >= 30


@pytest.mark.usefixtures("threads_take_turns_often")
def test_live_writes_and_deletes_beat_moves_that_run_beside_them(store, rows):
    gallery = store.gallery(OLD, NEW)
    names = [f"item{i}" for i in range(N)]
    stale = gallery.upsert(names, rows(N, OLD), space=OLD)
    live = rows(N, NEW)
    live[:, 0] = 77

    def write():
        for i in range(0, N, 3):
            gallery.upsert([names[i]], live[i : i + 1], space=NEW)
            gallery.delete([names[i + 1]])

    vectors = rows(N, NEW)

    def move():
        for start in range(0, N, 10):
            part = slice(start, start + 10)
            gallery.move(names[part], vectors[part], space=NEW, expected_versions=stale[part])

    run_beside(move, write)
    move()
    states = gallery.get(names)
    assert [state is None for state in states] == [i % 3 == 1 for i in range(N)]
    np.testing.assert_array_equal(gallery.vectors(names[::3], NEW).vectors, live[::3])
    np.testing.assert_array_equal(gallery.vectors(names[2::3], NEW).vectors, vectors[2::3])
    assert (gallery.count(OLD), gallery.count(NEW)) == (0, 2 * N // 3)


@pytest.mark.usefixtures("threads_take_turns_often")
def test_two_threads_may_move_the_same_items(store, rows):
    gallery = store.gallery(OLD, NEW)
    names = [f"item{i}" for i in range(N)]
    versions = gallery.upsert(names, rows(N, OLD), space=OLD)
    vectors = rows(N, NEW)

    def move():
        for start in range(0, N, 10):
            part = slice(start, start + 10)
            gallery.move(names[part], vectors[part], space=NEW, expected_versions=versions[part])

    run_beside(move, move)
    assert (gallery.count(OLD), gallery.count(NEW)) == (0, N)
    np.testing.assert_array_equal(gallery.vectors(names, NEW).vectors, vectors)
    assert gallery.vectors(names, OLD).item_ids == tuple(names)
