"""What only the store in LanceDB has: tables that are there, indexes, columns, versions."""

from __future__ import annotations

import threading
import warnings
from datetime import timedelta

import numpy as np
import pytest

from hotfill.errors import InputError, StoreBusyError, StoreError, StoreFullError
from hotfill.stores import Range
from hotfill.stores.section import LanceDBSection
from hotfill.types import ModelId

lancedb = pytest.importorskip("lancedb")
pa = pytest.importorskip("pyarrow")

from hotfill.stores.lancedb import LanceDBGallery  # noqa: E402
from hotfill.stores.lancedb import table as module  # noqa: E402
from tests.acceptance.index_child import given_up  # noqa: E402

OLD = ModelId("old", "1", 3)
NEW = ModelId("new", "1", 4, metric="l2", normalised=False)
LARGE = ModelId("large", "1", 16)
OTHERS = ("title", "price", "stock", "fresh", "picture", "vector")


def vectors(rows, kind=None):
    rows = np.array(rows, dtype=np.float32)
    flat = pa.array(rows.reshape(-1)).cast(kind or pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])


@pytest.fixture
def products(tmp_path):
    """A table as people have it: numbers as ids, narrow types, bytes, vectors of any length."""
    table = pa.table(
        {
            "sku": pa.array([1, 2, 3, 4], pa.int32()),
            "title": ["fox", "tree", None, "car"],
            "price": pa.array([0.5, 2, 3, 4], pa.float32()),
            "stock": pa.array([5, 6, 7, None], pa.int16()),
            "fresh": [True, False, None, True],
            "picture": pa.array([b"1", b"2", b"3", b"4"]),
            "vector": pa.concat_arrays(
                [vectors([[2, 0, 0], [0, 3, 0], [0, 0, 4]]), pa.nulls(1, vectors([[0, 0, 0]]).type)]
            ),
        }
    )
    lancedb.connect(str(tmp_path)).create_table("products", table, on_bad_vectors="null")
    return tmp_path


def adopted(folder, **options):
    return LanceDBGallery.adopt(folder, OLD, table="products", id_column="sku", **options)


def content(folder, columns=("sku", *OTHERS)):
    """What a program sees that knows nothing of hotfill, in the order of ids."""
    table = lancedb.connect(str(folder)).open_table("products")
    return table.to_arrow().select(list(columns)).sort_by("sku").to_pylist()


def test_adopting_changes_nothing_in_the_table_and_lets_it_be_read_and_searched(products):
    before = content(products), lancedb.connect(str(products)).open_table("products").schema.names
    with adopted(products) as gallery:
        assert gallery.spaces == (OLD,)
        assert (gallery.count(OLD), gallery.count(OLD, origin=OLD.fingerprint)) == (3, 3)
        assert gallery.count(OLD, origin="other") == 0
        assert gallery.scan(OLD, limit=2).item_ids == ("1", "2")
        assert gallery.scan(OLD, after="2", limit=2).item_ids == ("3",)
        states = gallery.get(["2", "4", "5", "x", "02", "3"])
        assert [state and state.metadata for state in states] == [
            {"title": "tree", "price": 2.0, "stock": 6, "fresh": False},
            None,
            None,
            None,
            None,
            {"price": 3.0, "stock": 7},
        ]
        assert (states[0].space, states[0].origin, states[0].version) == (OLD, OLD.fingerprint, 0)
        np.testing.assert_allclose(
            gallery.vectors(["3", "4", "1"], OLD).vectors, [[0, 0, 1], [1, 0, 0]]
        )
        hits = gallery.search({OLD: np.array([[1, 1, 0.5]])}, 9)[OLD]
        assert set(hits.item_ids[0][:2]) == {"1", "2"}
        np.testing.assert_allclose(hits.scores[0], [2 / 3, 2 / 3, 1 / 3], atol=1e-6)
        for where, expected in (
            ({"stock": 6}, ["2"]),
            ({"stock": 10**12}, []),
            ({"stock": Range(at_least=5.5)}, ["2", "3"]),
            ({"price": 0.5}, ["1"]),
            ({"price": Range(at_most=10**30, at_least=2)}, ["2", "3"]),
            ({"price": Range(at_least=10**30)}, []),
            ({"fresh": True}, ["1"]),
            ({"title": "fox", "fresh": True}, ["1"]),
            ({"stock": [5, 6.0, 99], "title": ["fox", "car"]}, ["1"]),
        ):
            found = gallery.search({OLD: np.ones((1, 3))}, 9, where=where)[OLD]
            assert sorted(found.item_ids[0]) == expected, where
    assert (
        content(products),
        lancedb.connect(str(products)).open_table("products").schema.names,
    ) == before


def test_adopting_again_is_harmless_and_as_another_model_is_refused(products):
    adopted(products).close()
    adopted(products).close()
    with pytest.raises(StoreError, match=r"is stamped with old@1 .* already"):
        LanceDBGallery.adopt(products, NEW, table="products", id_column="sku")


def test_an_adopted_table_is_not_written_before_it_was_asked_for(products):
    with adopted(products) as gallery:
        for call in (
            lambda: gallery.upsert(["1"], np.ones((1, 3)), space=OLD),
            lambda: gallery.move(
                ["1"], np.ones((1, 3)), space=OLD, expected_versions=np.array([0])
            ),
            lambda: gallery.delete(["1"]),
            lambda: gallery.set_metadata(["1"], [{"stock": 5}]),
        ):
            with pytest.raises(StoreError, match="still as it was found"):
                call()


def test_an_adopted_table_is_upgraded_where_it_is_and_its_other_columns_stay(products):
    before = content(products)
    gallery = adopted(products)
    gallery.add_space(NEW)
    assert (gallery.count(OLD), gallery.count(NEW)) == (3, 0)
    page = gallery.scan(OLD)
    rows = np.arange(12, dtype=np.float32).reshape(3, 4) + 1
    moved = gallery.move(page.item_ids, rows, space=NEW, expected_versions=page.versions)
    assert moved.all()
    assert (gallery.count(OLD), gallery.count(NEW), len(gallery)) == (0, 3, 3)
    assert content(products) == before
    np.testing.assert_allclose(gallery.vectors(["1"], OLD).vectors, [[1, 0, 0]])
    gallery.set_metadata(["1"], [{"stock": 9, "new": "text"}])
    assert gallery.get(["1"])[0].metadata == {"stock": 9, "new": "text"}
    (version,) = gallery.upsert(["2"], np.ones((1, 4)), space=NEW)
    assert version > 0
    assert content(products, ["sku", "picture", "title"])[1] == {
        "sku": 2,
        "picture": b"2",
        "title": "tree",
    }
    gallery.upsert(["4", "9"], np.ones((2, 4)), space=NEW, metadata=[{}, {"stock": 1}])
    assert gallery.get(["4"])[0].metadata == {}
    assert gallery.delete(["3", "9", "77"]) == 2
    gallery.drop_space(OLD)
    gallery.close()
    with LanceDBGallery.open(products, table="products") as gallery:
        assert (gallery.spaces, len(gallery)) == ((NEW,), 3)
        with pytest.raises(InputError, match="whole numbers; 'x' is none"):
            gallery.upsert(["x"], np.ones((1, 4)), space=NEW)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id_column": "no"}, r"has no column 'no'; it has sku, title"),
        ({"vector_column": "title"}, r"a column of type fixed_size_list<float>\[3\]"),
        ({"id_column": "price"}, "ids are texts or whole numbers"),
        ({"id_column": "title"}, "1 are empty and 0 repeat another"),
        ({"table": "other"}, "has no table 'other'"),
    ],
)
def test_tables_that_do_not_fit_are_named(products, options, message):
    with pytest.raises(StoreError, match=message):
        LanceDBGallery.adopt(products, OLD, **{"table": "products", "id_column": "sku", **options})
    adopted(products).close()


def test_preparing_that_was_cut_off_is_finished_by_the_next(products, monkeypatch):
    gallery = adopted(products)
    monkeypatch.setattr(
        type(gallery._table._handle),
        "update",
        lambda *_, **__: (_ for _ in ()).throw(OSError("killed")),
    )
    with pytest.raises(StoreError, match="killed"):
        gallery.add_space(NEW)
    gallery.close()
    monkeypatch.undo()
    with LanceDBGallery.open(products, table="products") as gallery:
        assert len(gallery) == 3
        gallery.add_space(NEW)
        assert (gallery.spaces, len(gallery)) == ((OLD, NEW), 3)


# What hotfill does not model ------------------------------------------------------------------


@pytest.fixture
def documents(tmp_path):
    """A table as frameworks make it: structs, lists, dates, numbers that are none, zeros."""
    lines = pa.struct(
        [("from", pa.int16()), ("seen", pa.timestamp("us")), ("of", pa.list_(pa.int32()))]
    )
    metadata = pa.struct([("source", pa.string()), ("page", pa.int64()), ("lines", lines)])
    rows = [
        {
            "source": f"{n % 2}.txt",
            "page": n,
            "lines": {"from": n, "seen": 1_700_000_000_000_001, "of": [n, 2]},
        }
        for n in range(5)
    ]
    table = pa.table(
        {
            "id": [f"{n}" for n in range(6)],
            "text": [f"text {n}" for n in range(6)],
            "metadata": pa.array([*rows, None], metadata),
            "tags": [["a", "b"]] * 6,
            "_private": ["mine"] * 6,
            "score": [0.5, float("nan"), float("inf"), 1.5, None, 2.5],
            "when": pa.array([1, 2, 3, 4, 5, None], pa.timestamp("us")),
            "other": vectors(np.eye(6)),
            "vector": vectors([[1, 0, 0], [0, 0, 0], [float("nan"), 1, 0], *np.eye(3)]),
        }
    )
    lancedb.connect(str(tmp_path)).create_table("documents", table, on_bad_vectors="null")
    folder = tmp_path
    theirs = lancedb.connect(str(folder)).open_table("documents")
    assert theirs.schema.field("metadata").type == metadata
    return folder


THEIRS = ["id", "text", "metadata", "tags", "_private", "score", "when", "other"]


def their_rows(folder):
    table = lancedb.connect(str(folder)).open_table("documents").to_arrow().select(THEIRS)
    return table.sort_by("id").combine_chunks()


def same(one, other):
    """Tell whether two tables are equal, a number that is none equal to itself too."""
    return str(one.to_pydict()) == str(other.to_pydict()) and one.schema.types == other.schema.types


def test_no_write_of_an_upgrade_takes_anything_of_theirs(documents):
    before = their_rows(documents)
    with LanceDBGallery.adopt(documents, OLD, table="documents") as gallery:
        gallery.add_space(NEW)
        page = gallery.scan(OLD)
        rows = np.ones((len(page.item_ids), 4))
        assert gallery.move(page.item_ids, rows, space=NEW, expected_versions=page.versions).all()
        gallery.upsert(["0", "1"], np.ones((2, 4)), space=NEW, kept={OLD: np.eye(3)[:2]})
        gallery.upsert(["3"], np.eye(3)[:1], space=OLD)
        for state in gallery.get(list(page.item_ids)):
            gallery.set_metadata([state.item_id], [state.metadata])
            gallery.upsert([state.item_id], np.ones((1, 4)), space=NEW, metadata=[state.metadata])
        gallery.drop_space(OLD)
    assert same(their_rows(documents), before)


def test_fields_of_structs_are_metadata_and_changing_one_changes_nothing_else(documents):
    before = their_rows(documents)
    with LanceDBGallery.adopt(documents, OLD, table="documents") as gallery:
        gallery.add_space(NEW)
        states = gallery.get([f"{n}" for n in range(6)])
        assert states[1].metadata == {
            "text": "text 1",
            "metadata.source": "1.txt",
            "metadata.page": 1,
            "metadata.lines.from": 1,
        }
        assert states[5].metadata == {"text": "text 5", "score": 2.5}
        gallery.set_metadata(
            ["1", "5"],
            [
                {**states[1].metadata, "metadata.lines.from": 7, "metadata.new": True},
                {**states[5].metadata, "metadata.source": "new.txt"},
            ],
        )
        changed = gallery.get(["1", "5"])
        assert changed[0].metadata["metadata.new"] is True
        assert changed[1].metadata == {**states[5].metadata, "metadata.source": "new.txt"}
        with pytest.raises(InputError, match="of type int16, which cannot hold"):
            gallery.set_metadata(["3"], [{"metadata.lines.from": 10**9}])
    after, expected = their_rows(documents).to_pydict(), before.to_pydict()
    expected["metadata"][1]["lines"]["from"] = 7
    expected["metadata"][5] = {"source": "new.txt", "page": None, "lines": None}
    assert str(after) == str(expected)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"metadata.source": "1.txt"}, {"3"}),
        ({"metadata.page": [0.0, 4], "metadata.source": ["0.txt", "x"]}, {"0", "4"}),
        ({"metadata.lines.from": Range(at_least=3)}, {"3", "4"}),
        ({"absent": 1}, set()),
    ],
)
def test_filters_reach_fields_of_structs(documents, where, found):
    with LanceDBGallery.adopt(documents, OLD, table="documents") as gallery:
        hits = gallery.search({OLD: np.ones((1, 3))}, 9, where=where)[OLD]
        assert set(hits.item_ids[0]) == found


@pytest.mark.parametrize("key", ["tags", "when", "metadata", "metadata.nothing", "_private.x"])
def test_a_filter_by_what_is_no_metadata_is_refused_and_not_silently_empty(documents, key):
    refused = pytest.raises(InputError, match=r"is of type|does not begin with an underscore")
    with LanceDBGallery.adopt(documents, OLD, table="documents") as gallery, refused:
        gallery.search({OLD: np.ones((1, 3))}, 9, where={key: "x"})


def test_stored_zeros_are_embedded_like_others(documents):
    with LanceDBGallery.adopt(documents, OLD, table="documents") as gallery:
        names = [f"{n}" for n in range(6)]
        assert "1" in gallery.scan(OLD).item_ids
        assert gallery.vectors(names, OLD).item_ids == ("0", "3", "4", "5")
        assert gallery.search({OLD: np.ones((1, 3))}, 9)[OLD].item_ids[0] == ("0", "3", "4", "5")
        gallery.add_space(NEW)
        page = gallery.scan(OLD)
        rows = np.ones((len(page.item_ids), 4))
        assert gallery.move(page.item_ids, rows, space=NEW, expected_versions=page.versions).all()


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b"])
def test_the_name_of_a_table_does_not_lead_elsewhere(tmp_path, name):
    (tmp_path / "db").mkdir()
    for way in (LanceDBGallery.create, LanceDBGallery.adopt):
        with pytest.raises(InputError, match="a table is called by letters"):
            way(tmp_path / "db", OLD, table=name)
    with pytest.raises(InputError, match="a table is called by letters"):
        LanceDBGallery.open(tmp_path / "db", table=name)
    assert [path.name for path in tmp_path.rglob("*")] == ["db"]


def test_looking_for_a_table_that_is_not_there_leaves_nothing(tmp_path):
    with pytest.raises(StoreError, match="has no table 'items'"):
        LanceDBGallery.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


# Searching by an index, and upkeep ------------------------------------------------------------


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A gallery of 2,000 items that is large enough for an index."""
    monkeypatch.setattr(module, "INDEXED_FROM", 1000)
    random = np.random.default_rng(0)
    rows = random.normal(size=(2000, 16)).astype(np.float32)
    with LanceDBGallery.create(tmp_path / "db", LARGE) as gallery:
        gallery.add_space(NEW)
        gallery.upsert([f"{i}" for i in range(2000)], rows, space=LARGE)
        yield gallery


def best_of(gallery, k=10):
    return gallery.search({LARGE: np.eye(4, 16)}, k)[LARGE]


def test_an_index_finds_nearly_the_same_and_scores_stay_exact(large, tmp_path):
    before = best_of(large)
    large.optimise()
    assert list(large._seen.indexed) == [large._seen.layout.columns[LARGE]]
    found = best_of(large)
    same = [len(set(a) & set(b)) for a, b in zip(before.item_ids, found.item_ids, strict=True)]
    assert sum(same) >= 36
    exact = dict(zip(before.item_ids[0], before.scores[0].tolist(), strict=True))
    for item_id, score in zip(found.item_ids[0], found.scores[0].tolist(), strict=True):
        assert score == pytest.approx(exact.get(item_id, score), abs=1e-6)
    large.close()
    with LanceDBGallery.open(tmp_path / "db", exact=True) as exactly:
        assert best_of(exactly).item_ids == before.item_ids


def test_a_small_side_wants_an_index_where_another_has_one(large, monkeypatch):
    large.optimise()
    monkeypatch.setattr(module, "INDEXED_FROM", 10_000)
    assert large.indexed(LARGE) == 1
    assert large.indexed(NEW) is None
    states = large.get([f"{i}" for i in range(600)])
    random = np.random.default_rng(1)
    large.move(
        [state.item_id for state in states],
        random.normal(size=(600, NEW.dimension)).astype(np.float32),
        space=NEW,
        expected_versions=np.array([state.version for state in states]),
    )
    assert large.indexed(NEW) == 0
    large.optimise()
    assert large.indexed(NEW) == 1


def test_items_moved_and_written_after_an_index_was_built_are_found(large):
    large.optimise()
    states = large.get([f"{i}" for i in range(1500)])
    versions = np.array([state.version for state in states])
    large.move(
        [state.item_id for state in states],
        np.ones((1500, 4)),
        space=NEW,
        expected_versions=versions,
    )
    large.upsert(["fresh"], np.eye(1, 16), space=LARGE)
    found = best_of(large, 2000).item_ids[0]
    assert found[0] == "fresh"
    assert set(found) <= {"fresh", *(f"{i}" for i in range(1500, 2000))}
    assert len(found) > 200  # an index looks into some of its parts, not all
    large.optimise()
    assert (large.count(LARGE), large.count(NEW)) == (501, 1500)
    assert best_of(large).item_ids[0][0] == "fresh"


def test_an_index_that_compares_otherwise_is_passed_by(tmp_path):
    rows = np.random.default_rng(1).normal(size=(600, 16)).astype(np.float32)
    table = pa.table({"id": [f"{i}" for i in range(600)], "vector": vectors(rows)})
    theirs = lancedb.connect(str(tmp_path)).create_table("items", table)
    theirs.create_index("vector", config=lancedb.index.IvfFlat(distance_type="l2"))
    with LanceDBGallery.adopt(tmp_path, LARGE) as gallery:
        assert not gallery._seen.indexed
        (found,) = gallery.search({LARGE: rows[:1]}, 10)[LARGE].item_ids
        cosines = rows @ rows[0] / np.linalg.norm(rows, axis=1)
        assert found == tuple(f"{i}" for i in np.argsort(-cosines)[:10])


def test_writes_and_searches_go_on_while_an_index_is_built(large, monkeypatch):
    building, may_end = threading.Event(), threading.Event()
    build_apart = module.build_apart

    def slow(*given):
        building.set()
        assert may_end.wait(60)
        build_apart(*given)

    monkeypatch.setattr(module, "build_apart", slow)
    thread = threading.Thread(target=large.optimise)
    thread.start()
    assert building.wait(60)
    for i in range(module._FEW_COMMITS + 2):
        large.upsert([f"new {i}"], np.eye(1, 16), space=LARGE)
    assert best_of(large, 3).scores[0].tolist() == [1, 1, 1]
    may_end.set()
    thread.join()
    assert large._seen.indexed
    assert large.count(LARGE) == 2000 + module._FEW_COMMITS + 2


def test_an_index_that_is_given_up_is_built_by_the_next_call(large, monkeypatch):
    large.abandon_building()  # there is none: nothing is given up later
    with monkeypatch.context() as patch:
        given_up(patch, module, large)
        large.optimise()
    assert not large._seen.indexed
    large.upsert(["new"], np.eye(1, 16), space=LARGE)
    large.optimise()
    assert large._seen.indexed
    assert large.count(LARGE) == 2001


def test_many_small_writes_do_not_leave_as_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_FEW_COMMITS", 8)
    with LanceDBGallery.create(tmp_path / "db", OLD) as gallery:
        for i in range(3 * module._FEW_COMMITS):
            gallery.upsert([f"{i}"], np.ones((1, 3)), space=OLD)
        assert (
            gallery._table._handle.stats()["fragment_stats"]["num_fragments"]
            <= module._FEW_COMMITS + 1
        )
        assert gallery.count(OLD) == 3 * module._FEW_COMMITS


def test_old_versions_are_removed_unless_the_table_has_a_tag(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_READERS_FINISH_IN", timedelta(milliseconds=1))
    with LanceDBGallery.create(tmp_path / "db", OLD) as gallery:
        gallery.upsert(["a"], np.ones((1, 3)), space=OLD)
        table = gallery._table._handle
        for rounds in ("removed", "kept"):
            for _ in range(3):
                gallery.upsert(["a"], np.ones((1, 3)), space=OLD)
            if rounds == "kept":
                table.tags.create("mine", table.version)
                gallery.upsert(["a", "b"], np.ones((2, 3)), space=OLD)
            gallery.optimise()
            left = [each["version"] for each in table.list_versions()]
            assert (len(left) > 3) == (rounds == "kept")
    found = lancedb.connect(str(tmp_path / "db")).open_table("items")
    found.checkout("mine")
    assert found.count_rows() == 1


# Columns of metadata --------------------------------------------------------------------------


def test_keys_that_make_like_names_of_columns_do_not_meet(tmp_path):
    metadata = {"a": "1", "A": "2", "a.b": "3", "a_b": "4", "a__text": "5", "hotfill_space": "6"}
    with LanceDBGallery.create(tmp_path / "db", OLD) as gallery:
        gallery.upsert(["x", "y"], np.ones((2, 3)), space=OLD, metadata=[metadata, {"a": 1}])
        assert [state.metadata for state in gallery.get(["x", "y"])] == [metadata, {"a": 1}]
        for key, value in metadata.items():
            hits = gallery.search({OLD: np.ones((1, 3))}, 9, where={key: value})[OLD]
            assert hits.item_ids == (("x",),), key


def test_keys_without_end_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_COLUMNS", 20)
    with LanceDBGallery.create(tmp_path / "db", OLD) as gallery:
        gallery.upsert(["x"], np.ones((1, 3)), space=OLD, metadata=[{"a": 1}])
        new = [{f"key-{number}": 1} for number in range(20)]
        with pytest.raises(InputError, match=r"at most 20 here; this one has \d+, and 20 keys"):
            gallery.upsert([f"y{n}" for n in range(20)], np.ones((20, 3)), space=OLD, metadata=new)
        with pytest.raises(InputError, match="each key is a column in LanceDB"):
            gallery.set_metadata(["x"], [new[0] | new[1] | dict.fromkeys("bcdefghijklmnop", 1)])
        assert [state.metadata for state in gallery.get(["x"])] == [{"a": 1}]
        assert len(gallery) == 1


# Opening --------------------------------------------------------------------------------------


def test_a_second_process_is_kept_out_and_another_table_is_not(tmp_path):
    with LanceDBGallery.create(tmp_path, OLD):
        with pytest.raises(StoreBusyError, match="is open in process"):
            LanceDBGallery.open(tmp_path)
        LanceDBGallery.create(tmp_path, OLD, table="others").close()
    LanceDBGallery.open(tmp_path).close()


def test_what_is_no_gallery_is_not_opened(tmp_path):
    with pytest.raises(StoreError, match="there is no folder"):
        LanceDBGallery.open(tmp_path / "no")
    with pytest.raises(StoreError, match="has no table 'items'"):
        LanceDBGallery.open(tmp_path)
    lancedb.connect(str(tmp_path)).create_table("items", pa.table({"id": ["a"]}))
    with pytest.raises(StoreError, match="is not a hotfill gallery: stamp it"):
        LanceDBGallery.open(tmp_path)
    with pytest.raises(StoreError, match="has a table 'items': open it"):
        LanceDBGallery.create(tmp_path, OLD)
    with pytest.raises(InputError, match="a local disk"):
        LanceDBGallery.open("s3://bucket/db")


def test_a_closed_gallery_says_so(tmp_path):
    gallery = LanceDBGallery.create(tmp_path, OLD)
    gallery.close()
    for call in (
        lambda: gallery.search({OLD: np.ones((1, 3))}, 1),
        lambda: gallery.get(["a"]),
        lambda: gallery.upsert(["a"], np.ones((1, 3)), space=OLD),
    ):
        with pytest.raises(StoreError, match="is closed"):
            call()


def test_a_disk_that_is_nearly_full_is_told_before_anything_is_written(tmp_path, monkeypatch):
    with LanceDBGallery.create(tmp_path, OLD) as gallery:
        version = gallery._table._handle.version
        monkeypatch.setattr(
            "hotfill.stores.folder.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**6})
        )
        with pytest.raises(StoreFullError, match="nothing was written"):
            gallery.upsert(["a"], np.ones((1, 3)), space=OLD)
        assert gallery._table._handle.version == version


@pytest.mark.parametrize("left", [0, 100])
def test_a_version_that_a_power_cut_left_half_written_is_passed_over_and_kept(tmp_path, left):
    with LanceDBGallery.create(tmp_path, OLD) as gallery:
        gallery.upsert(["a"], np.ones((1, 3)), space=OLD)
        before = gallery._table._handle.version
        gallery.upsert(["b"], np.ones((1, 3)), space=OLD)
        gallery.upsert(["c"], np.ones((1, 3)), space=OLD)
    versions = tmp_path / "items.lance" / "_versions"
    newest = sorted(versions.glob("*.manifest"))[:2]  # they are numbered backwards
    bytes_of = {path: path.read_bytes()[:left] for path in newest}
    for path, some in bytes_of.items():
        path.write_bytes(some)
    with LanceDBGallery.open(tmp_path) as gallery:
        assert gallery._table._handle.version == before
        assert gallery.scan(OLD).item_ids == ("a",)
        gallery.upsert(["d"], np.ones((1, 3)), space=OLD)
        assert gallery.scan(OLD).item_ids == ("a", "d")
    assert len(list(versions.glob("*.half-written"))) == 2


def test_a_table_without_one_whole_version_is_refused_and_left_alone(tmp_path):
    LanceDBGallery.create(tmp_path, OLD).close()
    versions = tmp_path / "items.lance" / "_versions"
    for path in versions.glob("*.manifest"):
        path.write_bytes(b"")
    names = sorted(path.name for path in versions.iterdir())
    with pytest.raises(StoreError, match="could not open the table"):
        LanceDBGallery.open(tmp_path)
    assert sorted(path.name for path in versions.iterdir()) == names


def test_a_batch_is_one_commit(tmp_path):
    with LanceDBGallery.create(tmp_path, OLD) as gallery:
        gallery.add_space(NEW)
        names = [f"{i}" for i in range(300)]
        versions = gallery.upsert(names, np.ones((300, 3)), space=OLD)
        before = gallery._table._handle.version
        gallery.move(names, np.ones((300, 4)), space=NEW, expected_versions=versions)
        assert gallery._table._handle.version == before + 1


def test_its_section_opens_it(tmp_path):
    with warnings.catch_warnings(), LanceDBGallery.create(tmp_path / "db", OLD):
        pass
    with LanceDBSection(path="db").open(tmp_path) as gallery:
        assert gallery.spaces == (OLD,)
