"""What only the store in index files has: built indexes, their files, the truth, adoption."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest

from hotfill.errors import (
    ConfigError,
    DuplicateItemError,
    InputError,
    StoreBusyError,
    StoreError,
    StoreFullError,
)
from hotfill.stores import Range
from hotfill.stores.section import Existing, IndexFilesSection
from hotfill.types import ModelId

faiss = pytest.importorskip("faiss")

from hotfill.locks import ReadWriteLock  # noqa: E402
from hotfill.stores.index_files import IndexFilesGallery, index, sides  # noqa: E402
from hotfill.stores.index_files import gallery as store  # noqa: E402

OLD = ModelId("old", "1", 16)
NEW = ModelId("new", "1", 4, metric="l2", normalised=False)
N = 3000
NAMES = [f"{i}" for i in range(N)]
ROWS = np.random.default_rng(0).normal(size=(N, 16)).astype(np.float32)
QUERIES = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_sides_are_large(monkeypatch):
    monkeypatch.setattr(sides, "_BUILT_FROM", 1000)
    monkeypatch.setattr(index, "_LEAST_LIVE", 100)


def filled(path, kind, model=OLD):
    gallery = IndexFilesGallery.create(path, model, index=kind)
    gallery.add_space(NEW)
    gallery.upsert(NAMES, ROWS, space=model, metadata=[{"n": i} for i in range(N)])
    return gallery


def exactly(rows, names, k, metric="cosine"):
    """The best items for each query, by comparing with all."""
    if metric == "l2":
        scores = -np.linalg.norm(QUERIES[:, None] - rows[None], axis=2)
    else:
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        scores = QUERIES / np.linalg.norm(QUERIES, axis=1, keepdims=True) @ unit.T
    return [[names[i] for i in np.argsort(-row)[:k]] for row in scores], -np.sort(-scores)[:, :k]


def recall(hits, expected):
    pairs = zip(hits.item_ids, expected, strict=True)
    return np.mean([len(set(found) & set(best)) / len(best) for found, best in pairs])


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_built_index_finds_nearly_all_with_exact_scores(tmp_path, kind, metric):
    model = ModelId("m", "1", 16, metric=metric, normalised=False)
    with filled(tmp_path / "store", kind, model) as gallery:
        gallery.optimise()
        assert list((tmp_path / "store").glob("index-*.faiss"))
        hits = gallery.search({model: QUERIES}, 10)[model]
        best, scores = exactly(ROWS, NAMES, 10, metric)
        assert recall(hits, best) > (0.9 if kind == "hnsw" else 0.5)
        for found, names, values, exact in zip(
            hits.item_ids, best, hits.scores, scores, strict=True
        ):
            known = dict(zip(names, exact.tolist(), strict=True))
            for name, value in zip(found, values.tolist(), strict=True):
                assert value == pytest.approx(known.get(name, value), abs=1e-4)
        assert gallery.search({model: QUERIES}, 1, where={"n": 7})[model].item_ids[0] == ("7",)
        some = gallery.search({model: QUERIES}, 10, where={"n": Range(at_least=1000)})[model]
        best, _ = exactly(ROWS[1000:], NAMES[1000:], 10, metric)
        assert recall(some, best) > (0.9 if kind == "hnsw" else 0.5)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_what_made_a_vector_is_told_by_rows_and_by_a_built_index_and_after_reopening(
    tmp_path, kind
):
    model = ModelId("also", "1", 16)
    gallery = filled(tmp_path / "store", kind)
    gallery.add_space(model)
    versions = np.array([state.version for state in gallery.get(NAMES)])
    gallery.move(NAMES, ROWS, space=model, expected_versions=versions, origin="mapped")
    gallery.move(NAMES[:2000], ROWS[:2000], space=model, expected_versions=versions[:2000])
    gallery.optimise()  # the index has vectors of both kinds
    gallery.move(
        NAMES[2000:2500], ROWS[2000:2500], space=model, expected_versions=versions[2000:2500]
    )
    for _ in range(2):
        hits = gallery.search({model: QUERIES}, N, origins=True)[model]
        for ids, origins in zip(hits.item_ids, hits.origins, strict=True):
            own = {
                name for name, made in zip(ids, origins, strict=True) if made == model.fingerprint
            }
            assert own == {name for name in ids if int(name) < 2500}
            assert {*origins} <= {"mapped", model.fingerprint}
        gallery.close()
        gallery = IndexFilesGallery.open(tmp_path / "store", index=kind)
    gallery.close()


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_items_that_move_leave_a_built_index_and_those_that_come_are_found(tmp_path, kind):
    gallery = filled(tmp_path / "store", kind)
    gallery.optimise()
    states = gallery.get(NAMES)
    versions = np.array([state.version for state in states])
    new = np.random.default_rng(2).normal(size=(N, 4)).astype(np.float32)
    for end in (1500, 2800, 2950):
        there = [i for i in range(end) if gallery.get([NAMES[i]])[0].space == OLD]
        gallery.move(
            [NAMES[i] for i in there], new[there], space=NEW, expected_versions=versions[there]
        )
        found = gallery.search({OLD: QUERIES}, 10)[OLD]
        best, _ = exactly(ROWS[end:], NAMES[end:], 10)
        assert {name for each in found.item_ids for name in each} <= set(NAMES[end:])
        assert recall(found, best) > (0.85 if kind == "hnsw" else 0.5)
    assert recall(gallery.search({OLD: QUERIES}, 10)[OLD], best) == 1  # few are left: all compared
    gallery.upsert(["fresh", "2999"], QUERIES[:2], space=OLD)
    hits = gallery.search({OLD: QUERIES[:2]}, 1)[OLD]
    assert hits.item_ids == (("fresh",), ("2999",))
    gallery.delete(["fresh", "2999"])
    assert gallery.count(OLD) == 49
    found = gallery.search({OLD: QUERIES}, 100)[OLD]
    assert [sorted(names) for names in found.item_ids] == [sorted(NAMES[2950:2999])] * 5
    gallery.close()


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_an_index_file_is_repaired_from_the_truth_when_it_is_opened(tmp_path, kind):
    with filled(tmp_path / "store", kind) as gallery:
        gallery.optimise()
        gallery.delete(NAMES[:10])
        gallery.upsert(["fresh", "20"], QUERIES[:2], space=OLD)
        page = gallery.scan(OLD, limit=5)
        gallery.move(page.item_ids, np.ones((5, 4)), space=NEW, expected_versions=page.versions)
        before = gallery.search({OLD: QUERIES, NEW: np.ones((5, 4))}, 20)
    with IndexFilesGallery.open(tmp_path / "store", index=kind) as gallery:
        after = gallery.search({OLD: QUERIES, NEW: np.ones((5, 4))}, 20)
        assert after[OLD].item_ids == before[OLD].item_ids
        assert sorted(after[NEW].item_ids[0]) == sorted(page.item_ids)
        assert after[OLD].item_ids[0][0] == "fresh"
        assert gallery.count(OLD) == N - 10 + 1 - 5
    with IndexFilesGallery.open(tmp_path / "store", index=kind, exact=True) as gallery:
        found = gallery.search({OLD: QUERIES}, 20)[OLD]
    with IndexFilesGallery.open(tmp_path / "store") as gallery:
        assert gallery.search({OLD: QUERIES}, 20)[OLD].item_ids == found.item_ids


@pytest.mark.parametrize("damage", ["cut", "gone", "numbers gone", "other numbers"])
def test_an_index_file_that_is_damaged_loses_nothing(tmp_path, damage):
    with filled(tmp_path / "store", "hnsw") as gallery:
        gallery.optimise()
    (path,) = (tmp_path / "store").glob("index-*.faiss")
    numbers = path.with_name(f"{path.name}.npy")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "gone":
        path.unlink()
    elif damage == "numbers gone":
        numbers.unlink()
    else:
        np.save(numbers, np.arange(7))
    with IndexFilesGallery.open(tmp_path / "store", index="hnsw") as gallery:
        best, _ = exactly(ROWS, NAMES, 10)
        assert recall(gallery.search({OLD: QUERIES}, 10)[OLD], best) == 1
        gallery.optimise()
        assert recall(gallery.search({OLD: QUERIES}, 10)[OLD], best) > 0.9


def test_indexes_are_built_again_when_much_has_changed_and_only_then(tmp_path):
    with filled(tmp_path / "store", "hnsw") as gallery:
        gallery.optimise()
        files = set((tmp_path / "store").glob("index-*"))
        gallery.upsert(["fresh"], QUERIES[:1], space=OLD)
        gallery.optimise()
        assert set((tmp_path / "store").glob("index-*")) == files
        gallery.upsert(NAMES[:1500], ROWS[:1500], space=OLD)
        gallery.optimise()
        others = set((tmp_path / "store").glob("index-*"))
        assert len(others) == 2
        assert not others & files
        gallery.delete([*NAMES, "fresh"])
        gallery.drop_space(OLD)
        assert not list((tmp_path / "store").glob("index-*"))


def test_writes_and_searches_go_on_while_an_index_is_built(tmp_path, monkeypatch):
    building, may_end = threading.Event(), threading.Event()

    def slow(*arguments):
        made = sides.build_index(*arguments)
        building.set()
        assert may_end.wait(60)
        return made

    monkeypatch.setattr(store, "build_index", slow)
    with filled(tmp_path / "store", "hnsw") as gallery:
        thread = threading.Thread(target=gallery.optimise)
        thread.start()
        assert building.wait(60)
        assert (gallery.building.done, gallery.building.total) == (N, N)
        gallery.delete(NAMES[:500])
        gallery.upsert(["fresh", "700"], QUERIES[:2], space=OLD)
        assert gallery.search({OLD: QUERIES}, 1)[OLD].item_ids[0] == ("fresh",)
        may_end.set()
        thread.join()
        hits = gallery.search({OLD: QUERIES}, N)[OLD]
        assert hits.item_ids[0][0] == "fresh"
        assert hits.item_ids[1][0] == "700"
        assert not set(hits.item_ids[0]) & set(NAMES[:500])
        assert gallery.count(OLD) == N - 500 + 1


def test_an_index_that_nobody_wants_any_more_is_given_up_and_built_by_the_next_call(
    tmp_path, monkeypatch
):
    with filled(tmp_path / "store", "hnsw") as gallery:
        gallery.abandon_building()  # there is none: nothing is given up later
        build = store.build_index

        def abandoned(*given):
            gallery.abandon_building()
            return build(*given)

        with monkeypatch.context() as patch:
            patch.setattr(store, "build_index", abandoned)
            gallery.optimise()
        assert (gallery.indexed(OLD), gallery.building) == (0, None)
        gallery.optimise()
        assert gallery.indexed(OLD) == 1


def test_centres_of_parts_are_those_of_faiss_and_finding_them_can_be_given_up():
    made = index.make_index("ivf", OLD, ROWS)
    theirs = faiss.IndexIVFFlat(faiss.IndexFlatIP(16), 16, made.nlist, faiss.METRIC_INNER_PRODUCT)
    theirs.cp.min_points_per_centroid = 1
    theirs.train(ROWS)
    centres = [each.quantizer.reconstruct_n(0, made.nlist) for each in (made, theirs)]
    np.testing.assert_allclose(*centres, atol=1e-5)
    told = []

    def give_up(done):
        told.append(done)
        if len(told) == 3:
            raise KeyError

    with pytest.raises(KeyError):
        index.make_index("ivf", OLD, ROWS, give_up)
    assert told == [0, 0, 0]


def test_sides_that_fell_behind_the_truth_are_loaded_again(tmp_path, monkeypatch):
    with filled(tmp_path / "store", "flat") as gallery:
        with monkeypatch.context() as patch:
            patch.setattr(sides.IndexedSide, "put", lambda *_: (_ for _ in ()).throw(MemoryError))
            with pytest.raises(MemoryError):
                gallery.upsert(["fresh"], QUERIES[:1], space=OLD)
        assert gallery.search({OLD: QUERIES}, 1)[OLD].item_ids[0] == ("fresh",)
        assert gallery.count(OLD) == N + 1


# Adoption -------------------------------------------------------------------------------------


def their_index(kind):
    """An index as people have it, filled with ROWS."""
    flat = faiss.IndexFlatIP(16)
    if kind == "flat":
        index = flat
    elif kind == "flat l2":
        index = faiss.IndexFlatL2(16)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(16, 8, faiss.METRIC_INNER_PRODUCT)
    elif kind == "ivf":
        index = faiss.IndexIVFFlat(flat, 16, 4, faiss.METRIC_INNER_PRODUCT)
        index.train(ROWS)
    elif kind in ("labelled", "labelled ivf"):
        inner = flat
        if kind == "labelled ivf":
            inner = faiss.IndexIVFFlat(flat, 16, 4, faiss.METRIC_INNER_PRODUCT)
            inner.train(ROWS)
        index = faiss.IndexIDMap2(inner) if kind == "labelled" else inner
        index.add_with_ids(ROWS, np.arange(N) * 7)
        return index
    index.add(ROWS)
    return index


@pytest.mark.parametrize("kind", ["flat", "flat l2", "hnsw", "ivf"])
@pytest.mark.parametrize("suffix", [".txt", ".npy", ".jsonl", None])
def test_an_index_file_with_its_ids_becomes_a_gallery(tmp_path, kind, suffix):
    source = tmp_path / "theirs.faiss"
    faiss.write_index(their_index(kind), str(source))
    before, ids, metadata = source.read_bytes(), None, {}
    names = NAMES
    if suffix is not None:
        names = [f"item {i}" for i in range(N)]
        ids = tmp_path / f"ids{suffix}"
        if suffix == ".txt":
            ids.write_text("\n".join(names) + "\n", encoding="utf-8")
        elif suffix == ".npy":
            np.save(ids, np.array(names))
        else:
            metadata = {"even": True}
            rows = [{"id": name, "even": i % 2 == 0} for i, name in enumerate(names)]
            ids.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with IndexFilesGallery.adopt(
        tmp_path / "store", OLD, index_file=source, ids_file=ids
    ) as gallery:
        assert (gallery.spaces, gallery.count(OLD)) == ((OLD,), N)
        best, scores = exactly(ROWS, names, 10)
        hits = gallery.search({OLD: QUERIES}, 10)[OLD]
        assert [list(found) for found in hits.item_ids] == best
        np.testing.assert_allclose(np.array(hits.scores), scores, atol=1e-5)
        assert gallery.get(names[:1])[0].metadata == metadata
    assert source.read_bytes() == before
    source.unlink()  # it is not needed any more, and adopting is idempotent
    IndexFilesGallery.adopt(tmp_path / "store", OLD, index_file=source, ids_file=ids).close()
    with pytest.raises(StoreError, match=r"is a gallery of old@1 .* already"):
        IndexFilesGallery.adopt(tmp_path / "store", NEW, index_file=source)


@pytest.mark.parametrize("kind", ["labelled", "labelled ivf"])
def test_labels_of_the_index_are_the_ids_where_no_others_are_given(tmp_path, kind):
    source = tmp_path / "theirs.faiss"
    faiss.write_index(their_index(kind), str(source))
    with IndexFilesGallery.adopt(
        tmp_path / "store", OLD, index_file=source, index="hnsw"
    ) as gallery:
        best, _ = exactly(ROWS, [f"{7 * i}" for i in range(N)], 10)
        assert recall(gallery.search({OLD: QUERIES}, 10)[OLD], best) > 0.9


@pytest.mark.parametrize("metric", [faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2])
@pytest.mark.parametrize("labelled", [False, True])
def test_a_graph_that_is_there_is_taken_over_and_not_built_anew(
    tmp_path, monkeypatch, metric, labelled
):
    rows = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
    graph = faiss.IndexHNSWFlat(16, 8, metric)
    theirs = faiss.IndexIDMap2(graph) if labelled else graph
    theirs.add_with_ids(rows, np.arange(N)) if labelled else theirs.add(rows)
    source = tmp_path / "theirs.faiss"
    faiss.write_index(theirs, str(source))
    before = source.read_bytes()
    monkeypatch.setattr(store, "build_index", None)  # nobody calls it
    best, scores = exactly(ROWS, NAMES, 10)
    IndexFilesGallery.adopt(tmp_path / "store", OLD, index_file=source, index="hnsw").close()
    with IndexFilesGallery.open(tmp_path / "store", index="hnsw", ef=200) as gallery:
        assert gallery.indexed(OLD) == 1
        hits = gallery.search({OLD: QUERIES}, 10)[OLD]
        assert recall(hits, best) > 0.9
        np.testing.assert_allclose(np.array(hits.scores)[:, 0], scores[:, 0], atol=1e-5)
        gallery.delete(hits.item_ids[0][:1])
        assert gallery.search({OLD: QUERIES}, 1)[OLD].item_ids[0] == hits.item_ids[0][1:2]
    assert source.read_bytes() == before


def test_a_graph_of_other_vectors_than_those_kept_is_built_anew_and_counted(tmp_path):
    source, told = tmp_path / "theirs.faiss", []
    faiss.write_index(their_index("hnsw"), str(source))  # of vectors of other lengths than one
    with IndexFilesGallery.adopt(
        tmp_path / "store",
        OLD,
        index_file=source,
        index="hnsw",
        told=lambda *so_far: told.append(so_far),
    ) as gallery:
        assert gallery.indexed(OLD) == 1
        best, _ = exactly(ROWS, NAMES, 10)
        assert recall(gallery.search({OLD: QUERIES}, 10)[OLD], best) > 0.9
        assert gallery.building is None
    assert told[0] == (N, N, "copying vectors")
    assert [done for done, *_ in told[1:]] == [0, 1000, 2000, 3000]
    assert {each[1:] for each in told[1:]} == {(N, "building the index")}


def test_index_files_that_do_not_fit_are_named_and_leave_nothing(tmp_path):
    source, ids = tmp_path / "theirs.faiss", tmp_path / "ids.txt"
    faiss.write_index(their_index("flat l2"), str(source))
    store = tmp_path / "store"

    def adopt(error, message, model=OLD, **options):
        with pytest.raises(error, match=message):
            IndexFilesGallery.adopt(store, model, **{"index_file": source, **options})
        assert not store.exists() or not any(store.iterdir())

    adopt(StoreError, "holds vectors of 16 numbers", NEW)
    adopt(StoreError, "compares by the Euclidean distance", ModelId("m", "1", 16, metric="dot"))
    ids.write_text("a\nb\n", encoding="utf-8")
    adopt(InputError, "holds 3000 vectors and .* names 2 ids", ids_file=ids)
    ids.write_text("a\n" * N, encoding="utf-8")
    adopt(DuplicateItemError, "'a' came more than once", ids_file=ids)
    adopt(InputError, "cannot be read", ids_file=tmp_path / "no.txt")
    adopt(InputError, "from .txt, .npy or .jsonl", ids_file=source)
    listed = tmp_path / "ids.jsonl"
    listed.write_text('["a"]\n', encoding="utf-8")
    adopt(InputError, "an object with an id in each line", ids_file=listed)
    adopt(StoreError, "not an index that FAISS can read", index_file=ids)
    compressed = faiss.index_factory(16, "PQ4x4")
    compressed.train(ROWS)
    faiss.write_index(compressed, str(source))
    adopt(StoreError, "IndexPQ, which does not keep vectors whole")


def test_an_adoption_that_was_cut_off_begins_again(tmp_path, monkeypatch):
    source = tmp_path / "theirs.faiss"
    faiss.write_index(their_index("flat"), str(source))
    with monkeypatch.context() as patch:
        patch.setattr(IndexFilesGallery, "upsert", lambda *_, **__: (_ for _ in ()).throw(OSError))
        with pytest.raises(OSError):  # noqa: PT011
            IndexFilesGallery.adopt(tmp_path / "store", OLD, index_file=source)
    assert not (tmp_path / "store").exists()
    IndexFilesGallery.adopt(tmp_path / "store", OLD, index_file=source).close()
    assert not list(tmp_path.glob("*.unfinished"))


# Opening --------------------------------------------------------------------------------------


def test_what_is_no_gallery_is_not_opened(tmp_path):
    with pytest.raises(StoreError, match="is not a hotfill gallery"):
        IndexFilesGallery.open(tmp_path)
    sqlite3.connect(tmp_path / "truth.sqlite").close()
    with pytest.raises(StoreError, match="is not a hotfill gallery"):
        IndexFilesGallery.open(tmp_path)
    with pytest.raises(StoreError, match="is not empty"):
        IndexFilesGallery.create(tmp_path, OLD)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "truth.sqlite").write_bytes(b"nothing that SQLite knows" * 100)
    with pytest.raises(StoreError, match="not a database"):
        IndexFilesGallery.open(tmp_path / "damaged")


def test_a_second_process_is_kept_out_and_a_closed_gallery_says_so(tmp_path):
    gallery = IndexFilesGallery.create(tmp_path / "store", OLD)
    with pytest.raises(StoreBusyError, match="is open in process"):
        IndexFilesGallery.open(tmp_path / "store")
    gallery.close()
    for call in (
        lambda: gallery.search({OLD: QUERIES}, 1),
        lambda: gallery.get(["a"]),
        lambda: gallery.upsert(["a"], QUERIES[:1], space=OLD),
        gallery.optimise,
    ):
        with pytest.raises(StoreError, match="is closed"):
            call()


def test_a_disk_that_is_nearly_full_is_told_before_anything_is_written(tmp_path, monkeypatch):
    with IndexFilesGallery.create(tmp_path / "store", OLD) as gallery:
        with monkeypatch.context() as patch:
            patch.setattr(
                "hotfill.stores.folder.shutil.disk_usage",
                lambda _: type("Usage", (), {"free": 10**6}),
            )
            with pytest.raises(StoreFullError, match="nothing was written"):
                gallery.upsert(["a"], QUERIES[:1], space=OLD)
        assert gallery.count(OLD) == 0


def test_its_section_names_what_is_missing(tmp_path):
    section = IndexFilesSection(path="store", index="hnsw")
    with pytest.raises(ConfigError, match="--index-file"):
        section.adopt(tmp_path, OLD, Existing())
    IndexFilesGallery.create(tmp_path / "store", OLD).close()
    with section.open(tmp_path) as gallery:
        assert gallery.spaces == (OLD,)


# Turns ----------------------------------------------------------------------------------------


def test_readers_share_a_turn_and_a_writer_has_one_alone():
    turns, inside, seen = ReadWriteLock(), [], []
    together = threading.Barrier(3)

    def read():
        with turns.reading():
            together.wait(60)  # only if all three are inside at once
            seen.append("writer" in inside)

    def write():
        with turns.writing():
            inside.append("writer")
            seen.append(len(inside) > 1)
            inside.remove("writer")

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writers = [threading.Thread(target=write) for _ in range(8)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    assert seen == [False] * 11


def test_a_turn_ends_with_an_error_too():
    turns = ReadWriteLock()
    for turn in (turns.writing, turns.reading):
        with pytest.raises(KeyError), turn():
            raise KeyError
    with turns.writing():
        pass


def test_searches_go_on_after_somebody_imported_the_torch_side_of_faiss():
    """It exchanges the methods of all of FAISS, so in a process of its own."""
    pytest.importorskip("torch")
    run = (
        "import faiss.contrib.torch_utils, pytest, sys; "
        f"sys.exit(pytest.main(['-q', {__file__!r}, '-k', 'finds_nearly_all']))"
    )
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
