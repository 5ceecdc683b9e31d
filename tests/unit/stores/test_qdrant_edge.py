"""What only the embedded store does: repair, rebuild beside searches and writes, its folder."""

import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from hotfill.stores.qdrant_edge.failures import translated

from hotfill.errors import StoreBusyError, StoreError, StoreFullError
from hotfill.stores.qdrant_edge import QdrantEdgeGallery, current, rebuild
from hotfill.types import ModelId

OLD, NEW = ModelId("old", "1", 4), ModelId("new", "1", 6)
NAMES = [f"item{i}" for i in range(30)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "gallery"


@pytest.fixture
def edge(folder):
    with QdrantEdgeGallery.create(folder, OLD, exact=True) as edge:
        edge.add_space(NEW)
        yield edge


def rows(n, model, seed=0):
    vectors = np.random.default_rng([seed, model.dimension]).normal(size=(n, model.dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def filled(edge):
    return edge.upsert(NAMES, rows(30, OLD), space=OLD)


class StoppedError(Exception):
    """Stands for a crash at one step of a move."""


def stop_at(monkeypatch, step):
    def stop(*args, **kwargs):
        raise StoppedError

    monkeypatch.setattr(f"hotfill.stores.qdrant_edge.shard.Shard.{step}", stop)


STEPS = ["set_maker", "set_vectors", "remove_vectors"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("reopened", [True, False])
@pytest.mark.parametrize("back", [False, True])
def test_a_move_that_stops_at_any_step_leaves_each_item_whole_on_one_side(
    folder, monkeypatch, step, reopened, back
):
    edge = QdrantEdgeGallery.create(folder, OLD, exact=True)
    edge.add_space(NEW)
    versions = filled(edge)
    old, new = rows(30, OLD), rows(30, NEW)
    if back:
        edge.move(NAMES, new, space=NEW, expected_versions=versions)
    target, vectors = (OLD, old) if back else (NEW, new)
    stop_at(monkeypatch, step)
    with pytest.raises(StoppedError):
        edge.move(NAMES[:9], vectors[:9], space=target, expected_versions=versions[:9], origin="up")
    monkeypatch.undo()
    if reopened:
        edge.close()
        edge = QdrantEdgeGallery.open(folder, exact=True)
    # Whichever side the nine items are on, they are on one, and both vectors can be read.
    assert edge.count(OLD) + edge.count(NEW) == 30
    hits = edge.search({OLD: old[:1], NEW: new[:1]}, 100)
    assert sorted(hits[OLD].item_ids[0] + hits[NEW].item_ids[0]) == sorted(NAMES)
    np.testing.assert_allclose(edge.vectors(NAMES, OLD).vectors, old, atol=1e-6)
    # And the same move again succeeds.
    assert edge.move(NAMES, vectors, space=target, expected_versions=versions).all()
    assert edge.count(target) == 30
    edge.close()


def test_a_search_that_began_on_an_empty_side_looks_again_when_items_came(edge, monkeypatch):
    versions = filled(edge)
    search = current.Shard.search

    def move_meanwhile(shard, queries, k, where):
        monkeypatch.undo()
        edge.move(NAMES, rows(30, NEW), space=NEW, expected_versions=versions)
        return search(shard, queries, k, where)

    monkeypatch.setattr(current.Shard, "search", move_meanwhile)
    hits = edge.search({OLD: rows(1, OLD), NEW: rows(1, NEW)}, 100)
    assert sorted(hits[OLD].item_ids[0] + hits[NEW].item_ids[0]) == sorted(NAMES)


@pytest.fixture
def rebuilt_apart(monkeypatch):
    """Small galleries are rebuilt in a process of their own too."""
    monkeypatch.setattr(current, "SMALL_BYTES", 0)


@pytest.mark.usefixtures("rebuilt_apart")
def test_what_is_written_during_a_rebuild_is_carried_over(edge, folder, monkeypatch):
    versions = filled(edge)
    edge.move(NAMES[:5], rows(5, NEW), space=NEW, expected_versions=versions[:5], origin="up")
    third = ModelId("third", "1", 3)

    def write_meanwhile(*args):
        rebuild.rebuild(*args)
        edge.add_space(third)
        edge.move(NAMES[5:9], rows(4, NEW, 2), space=NEW, expected_versions=versions[5:9])
        edge.move(NAMES[9:11], rows(2, third), space=third, expected_versions=versions[9:11])
        edge.upsert(["new", NAMES[20]], rows(2, NEW, 3), space=NEW, metadata=[{"n": 1}, {"n": 2}])
        edge.set_metadata([NAMES[21]], [{"n": 3}])
        edge.delete([NAMES[22], NAMES[0]])

    monkeypatch.setattr(current, "rebuild", write_meanwhile)
    edge.optimise()
    monkeypatch.undo()

    def content(edge):
        names = [*NAMES, "new"]
        return (
            edge.get(names),
            [edge.vectors(names, space).vectors.tolist() for space in edge.spaces],
            [edge.count(space) for space in edge.spaces],
            edge.search({OLD: rows(1, OLD)}, 100, where={"n": 3})[OLD].item_ids,
        )

    after = content(edge)
    assert edge.spaces == (OLD, NEW, third)
    assert [state.space if state else None for state in after[0][:12]] == [
        None, *[NEW] * 8, *[third] * 2, OLD
    ]  # fmt: skip
    assert after[0][1].origin == "up"
    assert after[0][20].metadata == {"n": 2}
    assert after[2] == [17, 10, 2]
    assert after[3] == ((NAMES[21],),)
    edge.close()
    assert [path.name for path in folder.glob("shard-*")] == ["shard-1"]
    with QdrantEdgeGallery.open(folder, exact=True) as edge:
        assert content(edge) == after


@pytest.mark.usefixtures("rebuilt_apart")
def test_searches_and_moves_go_on_during_a_rebuild(edge):
    versions = filled(edge)
    done = threading.Event()
    failures, searches = [], []

    def use():
        space = NEW
        try:
            while not done.is_set():
                hits = edge.search({OLD: rows(1, OLD), NEW: rows(1, NEW)}, 100)
                found = set(hits[OLD].item_ids[0]) | set(hits[NEW].item_ids[0])
                assert found == set(NAMES)
                edge.move(NAMES, rows(30, space), space=space, expected_versions=versions)
                space = OLD if space == NEW else NEW
                searches.append(1)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    try:
        for _ in range(2):
            edge.optimise()
    finally:
        done.set()
        thread.join()
    assert failures == []
    assert searches
    assert len(edge) == 30


@pytest.mark.usefixtures("rebuilt_apart")
def test_a_rebuild_that_fails_changes_nothing(edge, folder, monkeypatch):
    filled(edge)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StoreError, match="the gallery is as it was"):
        edge.optimise()
    assert edge.count(OLD) == 30
    assert [path.name for path in folder.glob("shard-*")] == ["shard-0"]
    monkeypatch.undo()
    edge.upsert(["more"], rows(1, OLD), space=OLD)
    assert len(edge.search({OLD: rows(1, OLD)}, 100)[OLD].item_ids[0]) == 31


@pytest.mark.usefixtures("rebuilt_apart")
def test_a_rebuild_is_refused_without_room_for_a_copy(edge, monkeypatch):
    filled(edge)
    monkeypatch.setattr(rebuild, "_ROOM", 1e12)
    with pytest.raises(StoreFullError, match="MB are free"):
        edge.optimise()
    assert edge.count(OLD) == 30


def test_what_a_killed_rebuild_left_is_removed(edge, folder):
    filled(edge)
    edge.close()
    (folder / "shard-7").mkdir()
    (folder / "shard-7" / "half").write_text("x")
    with QdrantEdgeGallery.open(folder) as edge:
        assert edge.count(OLD) == 30
    assert [path.name for path in folder.glob("shard-*")] == ["shard-0"]


def test_a_second_opening_names_the_process_that_has_it(edge, folder):
    with pytest.raises(StoreBusyError, match=f"open in process {os.getpid()}"):
        QdrantEdgeGallery.open(folder)
    code = (
        "import sys; from hotfill.stores.qdrant_edge import QdrantEdgeGallery\n"
        "try: QdrantEdgeGallery.open(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith("StoreBusyError")
    assert f"process {os.getpid()}" in said


def test_a_closed_gallery_is_free_and_says_so(edge, folder):
    edge.close()
    with pytest.raises(StoreError):
        edge.upsert(["a"], rows(1, OLD), space=OLD)
    with pytest.raises(StoreError):
        edge.search({OLD: rows(1, OLD)}, 1)
    QdrantEdgeGallery.open(folder).close()


def test_a_folder_without_a_stamp_is_not_opened_and_a_full_one_not_taken(folder):
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(StoreError, match="not a hotfill gallery"):
        QdrantEdgeGallery.open(folder)
    with pytest.raises(StoreError, match="not empty"):
        QdrantEdgeGallery.create(folder, OLD)
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("said", "error", "retryable"),
    [
        ("Service runtime error: No space left on device (os error 28)", StoreFullError, True),
        ("failed to open WAL: Can't init WAL: Kind(WouldBlock)", StoreBusyError, True),
        ("anything else", StoreError, False),
    ],
)
def test_the_engines_failures_become_ours(said, error, retryable):
    with pytest.raises(error, match="could not write") as caught, translated("write"):
        raise Exception(said)
    assert type(caught.value) is error
    assert caught.value.retryable is retryable


def test_a_panic_of_the_engine_is_a_store_error_and_an_interrupt_is_not():
    panic = type("PanicException", (BaseException,), {})
    with pytest.raises(StoreError, match="could not search: index out"), translated("search"):
        raise panic("index out of bounds")
    with pytest.raises(KeyboardInterrupt), translated("search"):
        raise KeyboardInterrupt


def test_versions_are_not_used_again_when_the_clock_is_set_back(edge, folder, monkeypatch):
    versions = filled(edge)
    edge.delete(NAMES)
    edge.close()
    monkeypatch.setattr("time.time_ns", lambda: 1_000)
    with QdrantEdgeGallery.open(folder) as edge:
        assert edge.upsert(["a"], rows(1, OLD), space=OLD)[0] > versions.max()


def test_a_mark_goes_on_before_a_transforms_vector_is_written_and_off_after_the_models(
    edge, monkeypatch
):
    steps = []
    for step in STEPS:
        real = getattr(current.Shard, step)

        def noted(*args, _real=real, _step=step, **kwargs):
            steps.append(_step)
            return _real(*args, **kwargs)

        monkeypatch.setattr(current.Shard, step, noted)
    versions = filled(edge)
    edge.move(NAMES, rows(30, NEW), space=NEW, expected_versions=versions, origin="up")
    assert steps == ["set_maker", "set_vectors", "remove_vectors"]
    steps.clear()
    edge.move(NAMES, rows(30, NEW), space=NEW, expected_versions=versions)
    assert steps == ["set_vectors", "set_maker"]


@pytest.fixture
def full_disk(monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**6))


def test_nothing_is_written_to_a_disk_that_is_nearly_full(edge, folder, request):
    versions = filled(edge)
    request.getfixturevalue("full_disk")
    for call in (
        lambda: edge.upsert(["a"], rows(1, OLD), space=OLD),
        lambda: edge.move(NAMES, rows(30, NEW), space=NEW, expected_versions=versions),
        lambda: edge.delete(NAMES),
        lambda: edge.set_metadata(NAMES, [{"n": 1}] * 30),
    ):
        with pytest.raises(StoreFullError, match="1 MB are left") as caught:
            call()
        assert caught.value.retryable
    assert edge.count(OLD) == len(edge) == 30
    assert len(edge.search({OLD: rows(1, OLD)}, 100)[OLD].item_ids[0]) == 30
    edge.close()
    with pytest.raises(StoreFullError):
        QdrantEdgeGallery.open(folder)


def test_the_log_is_shortened_now_and_then(edge, monkeypatch):
    flushes = []
    real = current.Shard.flush
    monkeypatch.setattr(current.Shard, "flush", lambda s: (flushes.append(1), real(s))[1])
    monkeypatch.setattr(current, "_FLUSHED_AFTER", 100)
    for _ in range(8):
        filled(edge)
    assert len(flushes) == 2
