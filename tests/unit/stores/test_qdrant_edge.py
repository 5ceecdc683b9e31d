"""What only the embedded store does: repair, rebuild beside searches and writes, its folder."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest

from hotfill.errors import StoreBusyError, StoreError, StoreFullError
from hotfill.stores.qdrant_edge import QdrantEdgeGallery, live_shard
from hotfill.stores.qdrant_edge import shard as shard_module
from hotfill.stores.qdrant_edge.kept_vectors import KeptVectors
from hotfill.stores.qdrant_edge.shard import Shard, translated
from hotfill.types import ModelId
from tests.acceptance.index_child import given_up

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


@pytest.mark.parametrize("stop", ["before", "in", "after"])
@pytest.mark.parametrize("reopened", [True, False])
@pytest.mark.parametrize("back", [False, True])
def test_a_move_that_stops_at_any_step_leaves_each_item_whole_on_one_side(
    folder, monkeypatch, stop, reopened, back
):
    edge = QdrantEdgeGallery.create(folder, OLD, exact=True)
    edge.add_space(NEW)
    versions = filled(edge)
    old, new = rows(30, OLD), rows(30, NEW)
    if back:
        edge.move(NAMES, new, space=NEW, expected_versions=versions)
    target, vectors = (OLD, old) if back else (NEW, new)
    write = Shard.write

    def stopped(shard, item_ids, payloads, space, rows):
        n = {"before": 0, "in": 4, "after": len(item_ids)}[stop]
        write(shard, item_ids[:n], payloads[:n], space, rows[:n])
        raise StoppedError

    monkeypatch.setattr(Shard, "write", stopped)
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


def test_a_move_is_one_write_of_each_point_whole(edge, monkeypatch):
    versions = filled(edge)
    operations, update = [], Shard._update
    monkeypatch.setattr(
        Shard, "_update", lambda shard, what: (operations.append(what), update(shard, what))
    )
    edge.move(NAMES, rows(30, NEW), space=NEW, expected_versions=versions, origin="up")
    assert len(operations) == 1
    assert {state.origin for state in edge.get(NAMES)} == {"up"}


def test_reads_and_searches_do_not_wait_for_a_move_and_see_its_beginning_or_end(edge, monkeypatch):
    versions = filled(edge)
    before = edge.vectors(NAMES, OLD).vectors
    queries = {OLD: rows(1, OLD), NEW: rows(1, NEW)}
    write, seen = Shard.write, []

    def read():
        seen.append(
            (
                edge.vectors(NAMES, OLD).vectors,
                [edge.count(OLD), edge.count(NEW)],
                [len(edge.search(queries, 50)[space].item_ids[0]) for space in queries],
                {state.space for state in edge.get(NAMES)},
                [len(edge.scan(space).item_ids) for space in queries],
            )
        )

    def read_before_and_after(*args):
        for _ in range(2):
            thread = threading.Thread(target=read, daemon=True)
            thread.start()
            thread.join(30)
            if len(seen) == 1:
                write(*args)

    monkeypatch.setattr(Shard, "write", read_before_and_after)
    edge.move(NAMES, rows(30, NEW), space=NEW, expected_versions=versions)
    assert len(seen) == 2  # otherwise the readers waited for the move
    for (found, *others), sides, space in zip(seen, ([30, 0], [0, 30]), (OLD, NEW), strict=True):
        np.testing.assert_array_equal(found, before)
        assert others == [[30, 0], sides, {space}, sides]  # the move is not finished


def test_a_vector_that_comes_back_between_two_readings_is_read_again(edge, monkeypatch):
    versions = filled(edge)
    edge.move(NAMES, rows(30, NEW), space=NEW, expected_versions=versions)
    get = KeptVectors.get

    def move_back_first(kept, *args):
        monkeypatch.undo()
        edge.move(NAMES, rows(30, OLD), space=OLD, expected_versions=versions)
        return get(kept, *args)

    monkeypatch.setattr(KeptVectors, "get", move_back_first)
    assert edge.vectors(NAMES, OLD).item_ids == tuple(NAMES)


def test_a_search_that_began_on_an_empty_side_looks_again_when_items_came(edge, monkeypatch):
    versions = filled(edge)
    search = Shard.search

    def move_meanwhile(shard, queries, k, where, **more):
        monkeypatch.undo()
        edge.move(NAMES, rows(30, NEW), space=NEW, expected_versions=versions)
        return search(shard, queries, k, where, **more)

    monkeypatch.setattr(Shard, "search", move_meanwhile)
    hits = edge.search({OLD: rows(1, OLD), NEW: rows(1, NEW)}, 100)
    assert sorted(hits[OLD].item_ids[0] + hits[NEW].item_ids[0]) == sorted(NAMES)


@pytest.fixture
def rebuilt_apart(monkeypatch):
    """Small galleries are rebuilt in a process of their own too."""
    monkeypatch.setattr(live_shard, "SMALL_BYTES", 0)


@pytest.mark.usefixtures("rebuilt_apart")
def test_what_is_written_during_a_rebuild_is_carried_over(edge, folder, monkeypatch):
    versions = filled(edge)
    edge.move(NAMES[:5], rows(5, NEW), space=NEW, expected_versions=versions[:5], origin="up")
    third = ModelId("third", "1", 3)

    build_indexes = live_shard.build_indexes

    def write_meanwhile(*args):
        build_indexes(*args)
        edge.add_space(third)
        edge.move(NAMES[5:9], rows(4, NEW, 2), space=NEW, expected_versions=versions[5:9])
        edge.move(NAMES[9:11], rows(2, third), space=third, expected_versions=versions[9:11])
        edge.upsert(["new", NAMES[20]], rows(2, NEW, 3), space=NEW, metadata=[{"n": 1}, {"n": 2}])
        edge.set_metadata([NAMES[21]], [{"n": 3}])
        edge.delete([NAMES[22], NAMES[0]])

    monkeypatch.setattr(live_shard, "build_indexes", write_meanwhile)
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
def test_a_rebuild_that_is_given_up_changes_nothing_and_the_next_call_makes_it(
    edge, folder, monkeypatch
):
    filled(edge)
    edge.abandon_building()  # there is none: nothing is given up later
    with monkeypatch.context() as patch:
        given_up(patch, live_shard, edge)
        edge.optimise()
    assert [path.name for path in folder.glob("shard-*")] == ["shard-0"]
    edge.upsert(["more"], rows(1, OLD), space=OLD)
    edge.optimise()
    assert [path.name for path in folder.glob("shard-*")] == ["shard-1"]
    assert len(edge.search({OLD: rows(1, OLD)}, 100)[OLD].item_ids[0]) == 31


@pytest.mark.usefixtures("rebuilt_apart")
def test_a_rebuild_is_refused_without_room_for_a_copy(edge, monkeypatch):
    filled(edge)
    monkeypatch.setattr(live_shard, "_ROOM", 1e12)
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


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("shard-7", r"names shard-7, which is not there \(there: shard-0, shard-3\)"),
        ("../gallery/shard-0", "names '../gallery/shard-0' as its shard"),
        ("/tmp", "names '/tmp' as its shard"),
        ("shard-00", "names 'shard-00' as its shard"),
        ("", "names '' as its shard"),
        (5, "names 5 as its shard"),
        (None, "names None as its shard"),
        ("shard-3", "could not open the shard"),
    ],
)
def test_a_stamp_that_does_not_fit_its_folder_is_refused_and_nothing_is_removed(
    edge, folder, data, message
):
    filled(edge)
    edge.close()
    (folder / "shard-3").mkdir()
    stamp = json.loads((folder / "spaces.json").read_text())
    (folder / "spaces.json").write_text(json.dumps({**stamp, "data": data}))
    with pytest.raises(StoreError, match=message):
        QdrantEdgeGallery.open(folder)
    (folder / "spaces.json").write_text(json.dumps(stamp))
    with QdrantEdgeGallery.open(folder) as edge:
        assert edge.count(OLD) == 30


def test_a_filter_of_a_thousand_values_is_one_condition_for_each_type(edge, monkeypatch):
    """The engine holds Python's lock while it evaluates conditions, one by one, for each item."""
    edge.upsert(["a", "b"], rows(2, OLD), space=OLD, metadata=[{"shop": 7}, {"shop": "x8"}])
    make, made = shard_module.client.FieldCondition, []

    def counted(*args, **named):
        made.append(args)
        return make(*args, **named)

    monkeypatch.setattr(shard_module.client, "FieldCondition", counted)
    values = [*range(500), *(f"x{i}" for i in range(500))]
    found = edge.search({OLD: rows(1, OLD)}, 5, where={"shop": values})[OLD]
    assert sorted(found.item_ids[0]) == ["a", "b"]
    assert len(made) == 2


@pytest.fixture(params=["cosine", "l2"])
def mixed(folder, request):
    """A gallery with items on two sides, and a way to say how a filter is asked for."""
    old, new = (ModelId(name, "1", 4, metric=request.param) for name in ("first", "second"))
    items = [f"item{number}" for number in range(200)]
    metadata = [{"shop": number % 7, "size": f"s{number % 3}"} for number in range(200)]
    with QdrantEdgeGallery.create(folder, old) as gallery:
        versions = gallery.upsert(items, rows(200, old), space=old, metadata=metadata)
        gallery.add_space(new)
        gallery.move(items[::2], rows(100, new, 1), space=new, expected_versions=versions[::2])
        yield gallery, {old: rows(20, old, 2), new: rows(20, new, 3)}


WHERE = {"shop": [1, 2, 3, "x"], "size": ["s0", "s2"]}


def test_a_filter_is_tried_on_few_items_in_a_call_and_finds_the_same(mixed, monkeypatch):
    """The engine holds Python's lock in a call, and tries a filter on every item of it."""
    gallery, queries = mixed
    right = gallery.search(queries, 9, where=WHERE)
    tried, condition = [], shard_module.client.HasIdCondition

    def noted(ids):
        tried.append(len(ids))
        return condition(ids)

    monkeypatch.setattr(shard_module.client, "HasIdCondition", noted)
    monkeypatch.setattr(shard_module, "_CHECKS_AT_ONCE", 30 * 3 * 16 * 2)
    found = gallery.search(queries, 9, where=WHERE)
    assert tried == [30] * 6 + [20]
    for space, hits in right.items():
        assert found[space].item_ids == hits.item_ids
        np.testing.assert_allclose(found[space].scores, hits.scores, rtol=1e-6)
        assert found[space].origins == hits.origins


@pytest.mark.parametrize(
    ("indexed", "shops", "calls"), [(True, [0, 1], 1), (True, [99], 7), (False, [0, 1], 7)]
)
def test_only_where_graphs_lead_a_filtered_search_to_what_passes_it_is_one_call(
    mixed, monkeypatch, indexed, shops, calls
):
    gallery, queries = mixed
    old = next(iter(queries))
    shard, asked = gallery._live.shard, []
    nearest = shard._nearest
    monkeypatch.setattr(shard, "_nearest", lambda *args: asked.append(args) or nearest(*args))
    monkeypatch.setattr(shard_module, "_CHECKS_AT_ONCE", 30)
    monkeypatch.setattr(shard_module, "_NEIGHBOURS", 0)
    monkeypatch.setattr(shard_module, "_FULL_SCAN_BYTES", 10 * 4 * 4)  # ten items
    shard.search({old: queries[old][:1]}, 5, {"shop": shops}, items=200, indexed=indexed)
    assert len(asked) == calls


def test_a_stamp_that_names_a_space_the_shard_does_not_have_is_refused(edge, folder):
    filled(edge)
    edge.close()
    stamp = json.loads((folder / "spaces.json").read_text())
    (folder / "shard-3").mkdir()
    third = ModelId("third", "1", 3).to_dict()
    (folder / "spaces.json").write_text(json.dumps({**stamp, "spaces": [*stamp["spaces"], third]}))
    with pytest.raises(StoreError, match="could not search: Not existing vector name"):
        QdrantEdgeGallery.open(folder)
    assert sorted(path.name for path in folder.glob("shard-*")) == ["shard-0", "shard-3"]


def test_what_is_called_like_a_shard_and_is_none_stays(edge, folder, tmp_path):
    edge.close()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "letter.txt").write_text("dear")
    (folder / "shard-8").symlink_to(tmp_path / "elsewhere")
    (folder / "shard-copy").mkdir()
    (folder / "shard-9").write_text("a file")
    QdrantEdgeGallery.open(folder).close()
    names = sorted(path.name for path in folder.glob("shard-*"))
    assert names == ["shard-0", "shard-8", "shard-9", "shard-copy"]
    assert (tmp_path / "elsewhere" / "letter.txt").exists()


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
    with QdrantEdgeGallery.open(folder, exact=True) as edge:  # and it can be opened and searched
        assert len(edge.search({OLD: rows(1, OLD)}, 100)[OLD].item_ids[0]) == 30
        with pytest.raises(StoreFullError, match="1 MB are left"):
            edge.delete(NAMES)


def test_the_log_is_shortened_now_and_then(edge, monkeypatch):
    flushes = []
    real = Shard.flush
    monkeypatch.setattr(Shard, "flush", lambda s: (flushes.append(1), real(s))[1])
    monkeypatch.setattr(live_shard, "_FLUSHED_AFTER", 100)
    for _ in range(8):
        filled(edge)
    assert len(flushes) == 2


def test_a_filter_of_many_values_is_a_few_conditions(edge, monkeypatch):
    """The engine compares each item with each condition, and holds Python's lock meanwhile."""
    metadata = [{"n": i, "real": i / 4, "name": f"n{i}", "odd": i % 2 == 1} for i in range(30)]
    edge.upsert(NAMES, rows(30, OLD), space=OLD, metadata=metadata)
    made, condition = [], shard_module.client.FieldCondition
    counting = SimpleNamespace(**vars(shard_module.client))
    counting.FieldCondition = lambda *args, **kwargs: (
        made.append(args),
        condition(*args, **kwargs),
    )[1]
    monkeypatch.setattr(shard_module, "client", counting)
    where = {
        "n": [*range(10), *(i + 0.5 for i in range(300)), *(f"{i}" for i in range(300)), True],
        "real": [i / 4 for i in range(4, 900)],
        "name": [f"n{i}" for i in range(3, 900)],
        "odd": [False, True],
    }
    found = edge.search({OLD: rows(1, OLD)}, 100, where=where)[OLD].item_ids[0]
    assert set(found) == set(NAMES[4:10])
    assert len(made) <= 8


def test_a_shard_whose_configuration_lags_behind_its_segments_is_opened(edge, folder):
    """As a power cut leaves it in the middle of the making of room for vectors."""
    filled(edge)
    edge.close()
    (config,) = folder.glob("shard-*/edge_config.json")
    lagging = json.loads(config.read_text())
    del lagging["vectors"][NEW.fingerprint]
    config.write_text(json.dumps(lagging))
    with QdrantEdgeGallery.open(folder, exact=True) as again:
        again.add_space(NEW)
        found = again.search({OLD: rows(30, OLD)}, 1)[OLD].item_ids
        assert [ids[0] for ids in found] == NAMES
        again.upsert(["more"], rows(1, NEW, seed=5), space=NEW)
        assert again.count(NEW) == 1


@pytest.mark.parametrize("reopened", [False, True])
def test_kept_vectors_are_forgotten_once_nobody_reads_them(folder, reopened):
    def left():
        with closing(sqlite3.connect(folder / "kept.sqlite")) as db:
            found = db.execute("SELECT item_id, space FROM kept").fetchall()
        spaces = {OLD.fingerprint: "old", NEW.fingerprint: "new"}
        return {(item_id, spaces[space]) for item_id, space in found}

    with QdrantEdgeGallery.create(folder, OLD, exact=True) as gallery:
        gallery.add_space(NEW)
        versions = gallery.upsert(["a", "b", "c", "d"], rows(4, OLD), space=OLD)
        gallery.move(["a", "b", "c", "d"], rows(4, NEW), space=NEW, expected_versions=versions)
    kept = {(name, "old") for name in "abcd"}
    assert left() == kept
    gallery = QdrantEdgeGallery.open(folder, exact=True)
    gallery.move(["a"], rows(1, OLD), space=OLD, expected_versions=versions[:1])
    gallery.upsert(["b"], rows(1, NEW), space=NEW)
    gallery.delete(["c"])
    assert left() == kept | {("a", "new")}  # it may all come back after a power cut
    if reopened:
        gallery.close()
    else:
        gallery._live.shard.flush()
        gallery._forget_void()
    assert left() == {("a", "new"), ("d", "old")}
    gallery.close()


def test_an_item_that_went_back_and_forth_keeps_what_it_is_to_go_back_by(folder):
    with QdrantEdgeGallery.create(folder, OLD, exact=True) as gallery:
        gallery.add_space(NEW)
        old, new = rows(1, OLD), rows(1, NEW)
        versions = gallery.upsert(["a"], old, space=OLD)
        for vectors, space in ((new, NEW), (old, OLD), (new, NEW)):
            gallery.move(["a"], vectors, space=space, expected_versions=versions)
    with QdrantEdgeGallery.open(folder, exact=True) as gallery:
        assert gallery.vectors(["a"], OLD).item_ids == ("a",)


# Graphs: the engine builds one from ten megabytes of vectors on ----------------------------------

LONG, LONGER = ModelId("long", "1", 256), ModelId("longer", "1", 260)
MANY = 11_000
MANY_NAMES = [f"item{i}" for i in range(MANY)]


def clustered(n, model, seed=0):
    random = np.random.default_rng([seed, 1])
    centres = random.normal(size=(MANY // 40, model.dimension))
    vectors = centres[random.integers(0, len(centres), n)] + 0.9 * random.normal(
        size=(n, model.dimension)
    )
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def recall_of(edge, vectors, there, queries, model, where=None):
    """Share of the ten nearest, of the items numbered `there`, that a search finds."""
    found = edge.search({model: queries}, 10, where=where)[model].item_ids
    best = np.argsort(-(queries @ vectors[there].T), axis=1)[:, :10]
    wanted = [{MANY_NAMES[there[at]] for at in row} for row in best.tolist()]
    return np.mean([len(set(row) & names) / 10 for row, names in zip(found, wanted, strict=True)])


@pytest.fixture
def large(folder):
    with QdrantEdgeGallery.create(folder, LONG) as edge:
        edge.add_space(LONGER)
        metadata = [{"n": number % 10} for number in range(MANY)]
        edge.upsert(MANY_NAMES, clustered(MANY, LONG), space=LONG, metadata=metadata)
        edge.optimise()
        assert edge.indexed(LONG) == 1.0
        yield edge


@pytest.mark.parametrize("reopened", [False, True])
def test_a_side_is_searched_as_well_when_most_of_its_graph_has_moved(large, folder, reopened):
    vectors, order = clustered(MANY, LONG), np.random.default_rng(2).permutation(MANY)
    queries = vectors[order[-60:]]
    versions = np.array([state.version for state in large.get(MANY_NAMES)])
    edge, moved = large, 0
    for share in (0.4, 0.7, 0.85, 0.95):
        part, moved = order[moved : int(share * MANY)], int(share * MANY)
        names = [MANY_NAMES[at] for at in part]
        rows_of_part = clustered(len(part), LONGER, 3)
        assert edge.move(names, rows_of_part, space=LONGER, expected_versions=versions[part]).all()
        if reopened:
            edge.close()
            edge = QdrantEdgeGallery.open(folder)
        there = np.sort(order[moved:])
        assert recall_of(edge, vectors, there, queries, LONG) > 0.97, share
        few = there[there % 10 < 3]
        assert recall_of(edge, vectors, few, queries, LONG, {"n": [0, 1, 2]}) > 0.97, share
    edge.close()


def test_an_index_of_what_moved_leaves_graphs_as_they_are_and_shares_their_files(large, folder):
    def graphs(shard):
        return {
            file.stat().st_ino: file.read_bytes()
            for file in (folder / shard).rglob("matrix.dat")
            if file.stat().st_size > 2**20
        }

    before = graphs("shard-1")
    versions = np.array([state.version for state in large.get(MANY_NAMES[:2000])])
    new = clustered(2000, LONGER)
    large.move(MANY_NAMES[:2000], new, space=LONGER, expected_versions=versions)
    large.optimise(moving=True)
    assert large._live._gone[LONG.fingerprint] == 2000, "they are still in the graph that stayed"
    assert before.items() <= graphs("shard-2").items()
    assert large.get(MANY_NAMES[2000:2002])[1].metadata == {"n": 1}
    large.upsert(MANY_NAMES[3000:4000], clustered(1000, LONG, 4), space=LONG)
    large.delete(MANY_NAMES[4000:5000])
    assert before.items() <= graphs("shard-2").items()
    large.optimise()
    assert not graphs("shard-3").keys() & before.keys(), "all in one graph again"


def test_what_is_written_anew_is_no_longer_said_to_be_indexed(large, folder):
    for half in range(2):
        names = MANY_NAMES[half : MANY // 2 : 2]
        large.upsert(names, clustered(len(names), LONG, 5), space=LONG)
    assert large.indexed(LONG) == pytest.approx(0.5, abs=0.001)
    large.close()
    with QdrantEdgeGallery.open(folder) as edge:  # about, as it was written down now and then
        assert 0.5 <= edge.indexed(LONG) < 0.61
        edge.optimise()
        assert edge.indexed(LONG) == 1.0


def test_a_shard_is_closed_when_the_searches_in_it_are_done():
    def close():
        calls.append(1)
        if len(calls) < 3:
            raise RuntimeError("Already borrowed")

    calls = []
    Shard(SimpleNamespace(close=close), exact=True, ef=None).close()
    assert len(calls) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has lost its parent")
def test_a_process_that_outlived_the_one_that_wanted_its_work_does_nothing(tmp_path):
    done = tmp_path / "done"
    main = "from hotfill.stores.long_work import main; main()"
    stranger, own = "1", str(os.getpid())
    for parent, works in ((stranger, False), (own, True)):
        command = [sys.executable, "-c", main, parent, "os:mkdir", str(done)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ended.returncode == 0) is works, ended.stderr
        assert done.exists() is works
