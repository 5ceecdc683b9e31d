"""Collections that declare fields, as LangChain makes them: through every write as they were."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient

from hotfill.errors import InputError, StoreError
from hotfill.stores.base import Range
from hotfill.stores.filters import matches
from hotfill.stores.milvus import MilvusGallery, claim, items
from hotfill.stores.milvus.server import Server
from hotfill.types import ModelId
from tests import milvus
from tests.unit.stores.milvus.models import NEW, NEW_ROWS, OLD, ROWS
from tests.unit.stores.milvus.test_adoption import client, release

IDS = ["x'1", "x2", "x3", "x4"]
ROWS_OF_PEOPLE = [
    {
        "pk": item_id,
        "text": f'a "pet" named {item_id}\n',
        "vector": row,
        "n": n - 1,
        "weight": n / 3,
        "share": n / 4,
        "tame": n % 2 == 0,
        "more": {"tags": ["a", {"b": None}], "n": n},
        "list": [n, 2],
    }
    for n, (item_id, row) in enumerate(
        zip(IDS, (ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)).tolist(), strict=True)
    )
]
SHOWN = ("text", "n", "weight", "share", "tame")
UNIT = ModelId("old", "1", 3)


def schema_of(here, *, dynamic=False, auto_id=False):
    schema = here.create_schema(auto_id=auto_id, enable_dynamic_field=dynamic)
    kind = {"max_length": 100} if not auto_id else {}
    schema.add_field("text", DataType.VARCHAR, max_length=200)
    schema.add_field("pk", DataType.INT64 if auto_id else DataType.VARCHAR, is_primary=True, **kind)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=3)
    return schema


def make(location, *, dynamic=False, metric="L2", name="pets"):
    here = client(location)
    schema = schema_of(here, dynamic=dynamic)
    schema.add_field("n", DataType.INT32)
    schema.add_field("weight", DataType.DOUBLE)
    schema.add_field("share", DataType.FLOAT)
    schema.add_field("tame", DataType.BOOL)
    schema.add_field("more", DataType.JSON)
    schema.add_field("list", DataType.ARRAY, element_type=DataType.INT64, max_capacity=3)
    make_collection(here, schema, metric=metric, name=name)
    here.insert(name, [dict(row) for row in ROWS_OF_PEOPLE])
    release(location) if "://" not in location else here.close()


def make_collection(here, schema, *, metric="L2", name="pets", vectors=("vector",)):
    here.create_collection(name, schema=schema)
    index = here.prepare_index_params()
    for vector in vectors:
        index.add_index(vector, index_type="AUTOINDEX", metric_type=metric)
    here.create_index(name, index)


def content(location, name="pets"):
    """Every row as text, by key, hotfill's notes and the vector apart."""
    here = MilvusClient(location)
    here.load_collection(name)
    rows = here.query(name, filter='pk != ""', output_fields=["*"], consistency_level="Strong")
    here.close()
    if "://" not in location:
        release(location)
    return (
        {r["pk"]: json.dumps(without(r, "vector"), sort_keys=True, default=list) for r in rows},
        {r["pk"]: r["vector"] for r in rows},
        {key for row in rows for key in row if key.startswith("hotfill_")},
    )


def without(row, *names):
    return {k: v for k, v in row.items() if k not in names and not k.startswith("hotfill_")}


def upgraded(gallery):
    gallery.add_space(NEW)
    page = gallery.scan(OLD)
    new = NEW_ROWS[[IDS.index(item_id) for item_id in page.item_ids]]
    assert gallery.move(page.item_ids, new, space=NEW, expected_versions=page.versions).all()


def move_back(gallery):
    found = gallery.vectors(IDS, OLD)
    assert gallery.move(
        found.item_ids, found.vectors, space=OLD, expected_versions=found.versions
    ).all()


both = pytest.mark.parametrize("dynamic", [False, True], ids=["declared", "dynamic_too"])


@both
def test_there_and_back_and_there_again_nothing_is_lost_and_no_note_is_left(
    location, dynamic, monkeypatch
):
    monkeypatch.setattr(items, "PAGE", 3)
    make(location, dynamic=dynamic)
    before = content(location)
    assert before[2] == set()
    with MilvusGallery.adopt(location, OLD, collection="pets") as gallery:
        assert gallery.layout.framework == "LangChain's Milvus"
        upgraded(gallery)
        move_back(gallery)
        gallery.drop_space(NEW)
    assert content(location) == before
    with MilvusGallery.open(location, collection="pets") as gallery:
        upgraded(gallery)
        gallery.set_metadata(IDS[:1], [dict(gallery.get(IDS[:1])[0].metadata)])
        assert gallery.stored(IDS[:1], ["more", "text"]) == {
            IDS[0]: {key: ROWS_OF_PEOPLE[0][key] for key in ("more", "text")}
        }
        gallery.drop_space(OLD)
        assert gallery.spaces == (NEW,)
        assert sorted(gallery.scan(NEW).item_ids) == sorted(IDS)
        assert gallery.count(NEW, origin=NEW.fingerprint) == 4
    after = content(location)
    assert after[0] == before[0]
    assert after[1] == dict(zip(IDS, NEW_ROWS.tolist(), strict=True))
    assert after[2] == set()


def test_scores_by_the_distance_are_cosines_for_vectors_of_unit_length(location):
    make(location)
    with MilvusGallery.adopt(location, UNIT, collection="pets") as gallery:
        found = gallery.search({UNIT: ROWS[3:]}, 4)[UNIT]
        by_hand = {
            item_id: np.dot(row["vector"], ROWS[3]) / np.linalg.norm(ROWS[3])
            for item_id, row in zip(IDS, ROWS_OF_PEOPLE, strict=True)
        }
        for item_id, score in zip(found.item_ids[0], found.scores[0], strict=True):
            assert score == pytest.approx(by_hand[item_id], abs=1e-6)
        assert found.item_ids[0][0] == "x4"


WHERES = [
    {"n": 1},
    {"n": 1.0},
    {"n": 1.5},
    {"n": "1"},
    {"n": True},
    {"n": [0, 2.0, "x", 2**40]},
    {"n": Range(at_least=-0.5)},
    {"n": Range(0, 1)},
    {"n": Range(at_most=-1e300)},
    {"n": Range(at_least=2**63)},
    {"weight": 1 / 3},
    {"weight": [0, 1]},
    {"weight": 2**53 + 1},
    {"weight": Range(0.3, 0.7)},
    {"weight": "0.3"},
    {"share": [0.25, 0.5]},
    {"share": Range(at_least=0.5)},
    {"tame": True},
    {"tame": [False, "x"]},
    {"tame": 1},
    {"text": ROWS_OF_PEOPLE[2]["text"]},
    {"text": [row["text"] for row in ROWS_OF_PEOPLE[:2]]},
    {"text": 3},
    {"text": Range(0, 1)},
    {"text": []},
    {"more": 1},
    {"list": "a"},
    {"nothing": 1},
    {"tame": True, "n": Range(at_least=0)},
]


def same_by_filter(location, name, dynamic):
    make(location, dynamic=dynamic, name=name)
    shown = {row["pk"]: {key: row[key] for key in SHOWN} for row in ROWS_OF_PEOPLE}
    with MilvusGallery.adopt(location, OLD, collection=name, fresh=True) as gallery:
        for space, rows in ((OLD, ROWS), (NEW, NEW_ROWS)):
            for where in WHERES:
                hits = gallery.search({space: rows[:1]}, 9, where=where)[space].item_ids[0]
                wanted = {item_id for item_id, row in shown.items() if matches(row, where)}
                assert set(hits) == wanted, (where, space)
            if space == OLD:
                assert gallery.count(OLD, origin=OLD.fingerprint) == 4
                upgraded(gallery)
        assert gallery.count(NEW, origin=NEW.fingerprint) == 4


@both
def test_filters_mean_the_same_on_declared_fields_as_everywhere(location, dynamic):
    same_by_filter(location, "pets", dynamic)


@both
@pytest.mark.skipif(milvus.MISSING, reason="the package milvus has the server")
def test_filters_mean_the_same_on_a_server(dynamic):
    same_by_filter(milvus.server(), milvus.fresh_name(), dynamic)


def test_metadata_that_are_replaced_leave_no_key_behind(location):
    make(location, dynamic=True)
    with MilvusGallery.adopt(location, OLD, collection="pets") as gallery:
        said = dict(gallery.get(IDS[:1])[0].metadata)
        gallery.set_metadata(IDS[:1], [{**said, "extra": 1}])
        assert gallery.get(IDS[:1])[0].metadata["extra"] == 1
        gallery.set_metadata(IDS[:1], [said])
        assert gallery.get(IDS[:1])[0].metadata == said


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n": None}, "item 'x2' has no 'n', a field that every row .*INT32"),
        ({"n": 1.5}, "'n' is a field of the collection .INT32., got 1.5"),
        ({"n": 2**31}, "INT32"),
        ({"tame": 1}, "'tame' is a field of the collection .BOOL., got 1"),
        ({"weight": "heavy"}, "DOUBLE"),
        ({"text": "ä" * 101}, "text of at most 200 bytes"),
        ({"other": 1}, "no field 'other' and no dynamic ones; it has text, n"),
    ],
)
@pytest.mark.parametrize("moved", [False, True])
def test_rows_that_the_collection_cannot_hold_are_refused_and_nothing_is_written(
    location, changed, message, moved
):
    make(location)
    said = {key: ROWS_OF_PEOPLE[1][key] for key in SHOWN}
    given = {key: value for key, value in {**said, **changed}.items() if value is not None}
    with MilvusGallery.adopt(location, OLD, collection="pets") as gallery:
        if moved:
            upgraded(gallery)  # new rows could hold it, but would not find their way back
        before = gallery.get(IDS)
        with pytest.raises(InputError, match=message):
            gallery.set_metadata(["x'1", "x2"], [said, given])
        space, rows = (NEW, NEW_ROWS) if moved else (OLD, ROWS)
        with pytest.raises(InputError, match=message):
            gallery.upsert(["x'1", "x2"], rows[:2], space=space, metadata=[said, given])
        with pytest.raises(InputError, match="item 'late' has no 'text'"):
            gallery.upsert(["late"], rows[:1], space=space)
        assert gallery.get([*IDS, "late"]) == [*before, None]


def test_a_new_item_has_all_fields_that_it_needs(location):
    make(location, dynamic=True)
    here = client(location)
    schema = schema_of(here)
    schema.add_field("n", DataType.INT64, nullable=True)
    schema.add_field("of", DataType.INT64, default_value=7)
    make_collection(here, schema, name="nulls")
    release(location)
    with MilvusGallery.adopt(location, OLD, collection="nulls") as gallery:
        (version,) = gallery.upsert(["a"], ROWS[:1], space=OLD, metadata=[{"text": "some"}])
        (state,) = gallery.get(["a"])
        assert (state.version, state.metadata) == (version, {"text": "some", "of": 7})
        gallery.add_space(NEW)
        assert gallery.move(
            ["a"], NEW_ROWS[:1], space=NEW, expected_versions=np.array([version])
        ).all()
        gallery.drop_space(OLD)
        assert gallery.get(["a"])[0].metadata == {"text": "some", "of": 7}


def test_a_row_that_others_changed_is_not_moved_by_what_it_was_before(location):
    make(location)
    with MilvusGallery.adopt(location, OLD, collection="pets") as gallery:
        gallery.add_space(NEW)
        page = gallery.scan(OLD)
        changed = {**ROWS_OF_PEOPLE[1], "text": "another text"}
        gallery._server.call("be another program", lambda c: c.insert("pets", [changed]))
        moved = gallery.move(
            page.item_ids, NEW_ROWS, space=NEW, expected_versions=page.versions
        ).tolist()
        assert dict(zip(page.item_ids, moved, strict=True)) == {
            item_id: item_id != "x2" for item_id in IDS
        }


def test_an_acknowledged_write_beside_a_row_without_notes_survives_a_crash(location, monkeypatch):
    make(location)
    gallery = MilvusGallery.adopt(location, OLD, collection="pets")
    gallery._server.lite = False  # what it wrote, it settles later
    monkeypatch.setattr(Server, "wait", lambda self, space: None)
    upgraded(gallery)
    said = {key: ROWS_OF_PEOPLE[0][key] for key in SHOWN}
    gallery._items.settle()
    # Upserts of a server are Milvus Lite's inserts: they replace whole rows.
    monkeypatch.setattr(gallery._server._client, "upsert", gallery._server._client.insert)
    gallery.upsert(IDS[:1], ROWS[1:2], space=OLD, metadata=[{**said, "n": 77}])
    gallery._claim._ended.set()
    gallery._server.lite = True
    gallery._server.close()  # the process is gone
    monkeypatch.setattr(claim, "_gone", lambda holder, beat: True)
    with MilvusGallery.open(location, collection="pets") as again:
        (state,) = again.get(IDS[:1])
        assert (state.space, state.metadata["n"]) == (OLD, 77)
        assert (again.count(OLD), again.count(NEW)) == (1, 3)


@both
@pytest.mark.parametrize("step", ["replace", "rename", "write"])
def test_a_kill_while_the_name_is_handed_over_loses_nothing(location, monkeypatch, dynamic, step):
    make(location, dynamic=dynamic)
    before = content(location)
    gallery = MilvusGallery.adopt(location, OLD, collection="pets")
    upgraded(gallery)

    class KilledError(BaseException):
        pass

    def killed(*words, **named):
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(Server, step, killed)
        with pytest.raises(KilledError):
            gallery.drop_space(OLD)
    gallery._claim._ended.set()
    gallery._server.close()
    monkeypatch.setattr(claim, "_gone", lambda holder, beat: True)
    with MilvusGallery.open(location, collection="pets") as again:
        assert again.spaces == (NEW,)
        assert again.count(NEW) == 4
    after = content(location)
    assert (after[0], after[2]) == (before[0], set())


def test_what_was_imputed_says_so_after_the_name_was_handed_over(location):
    make(location)
    with MilvusGallery.adopt(location, OLD, collection="pets") as gallery:
        gallery.add_space(NEW)
        page = gallery.scan(OLD)
        gallery.move(
            page.item_ids, NEW_ROWS, space=NEW, expected_versions=page.versions, origin="a fit"
        )
        found = gallery.vectors(IDS, OLD)
        back = {"space": OLD, "expected_versions": found.versions, "origin": "another"}
        with pytest.raises(StoreError, match="could not note there that a vector is imputed"):
            gallery.move(found.item_ids, found.vectors, **back)
        gallery.drop_space(OLD)
        assert gallery.count(NEW, origin="a fit") == 4
        assert all("hotfill_kept" not in row for row in rows_of(gallery))


def rows_of(gallery):
    return gallery._server.call(
        "look", lambda c: list(c.query("pets", filter='pk != ""', output_fields=["$meta"]))
    )


@pytest.mark.parametrize("place", ["lite", "server"])
def test_other_names_follow_and_searches_never_fail_while_the_name_is_handed_over(location, place):
    name, where = "pets", location
    if place == "server":
        if milvus.MISSING:
            pytest.skip("the package milvus, which has the server, is for Linux on x86-64 only")
        name, where = milvus.fresh_name(), milvus.server()
    make(where, name=name)
    other = f"{name}_alias"
    failures, found, done = [], [], threading.Event()
    with MilvusGallery.adopt(where, OLD, collection=name, fresh=True) as gallery:
        gallery._server.call("name it", lambda c: c.create_alias(name, other))
        upgraded(gallery)

        def search():
            try:
                while not done.is_set():
                    found.append(len(gallery.search({NEW: NEW_ROWS[:1]}, 9)[NEW].item_ids[0]))
            except BaseException as error:
                failures.append(error)

        searching = threading.Thread(target=search)
        searching.start()
        try:
            gallery.drop_space(OLD)
        finally:
            done.set()
            searching.join()
        assert (failures, set(found)) == ([], {4})
        about = gallery._server.call("look", lambda c: c.describe_collection(other))
        assert about["collection_name"] == name
        with pytest.raises(StoreError, match=f"another name of the collection '{name}'"):
            MilvusGallery.adopt(where, NEW, collection=other)
    texts, vectors, notes = content(where, name)
    assert texts == {r["pk"]: json.dumps(without(r, "vector"), sort_keys=True) for r in read()}
    assert (vectors, notes) == (dict(zip(IDS, NEW_ROWS.tolist(), strict=True)), set())


def read():
    """The rows as a server gives them back: what has 32 bits there."""
    return [{**row, "share": float(np.float32(row["share"]))} for row in ROWS_OF_PEOPLE]


def refused(location, message, **options):
    with pytest.raises(StoreError, match=message):
        MilvusGallery.adopt(location, OLD, collection="pets", **options)
    with pytest.raises(StoreError, match="there is no hotfill gallery 'pets'"):
        MilvusGallery.open(location, collection="pets")


def test_keys_that_the_server_gives_out_are_refused(location):
    here = client(location)
    make_collection(here, schema_of(here, auto_id=True))
    release(location)
    refused(location, "the server gives out its primary keys.*add_documents")


def test_two_vectors_in_a_row_are_refused(location):
    here = client(location)
    schema = schema_of(here)
    schema.add_field("image", DataType.FLOAT_VECTOR, dim=2)
    make_collection(here, schema, vectors=("vector", "image"))
    release(location)
    refused(location, "has 2 fields of float vectors: vector, image")
    refused(location, r"has 2 vectors in a row \(vector, image\)", vector="vector")


def test_fields_that_the_server_makes_are_refused(location):
    here = client(location)
    schema = here.create_schema(auto_id=False)
    schema.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=100)
    schema.add_field("text", DataType.VARCHAR, max_length=200, enable_analyzer=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=3)
    schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["words"]))
    here.create_collection("pets", schema=schema)
    release(location)
    refused(location, "2 vectors in a row")


def test_names_of_hotfills_notes_are_refused(location):
    here = client(location)
    schema = schema_of(here)
    schema.add_field("hotfill_kept", DataType.INT64)
    make_collection(here, schema)
    release(location)
    refused(location, "has a field 'hotfill_kept'")


def test_partitions_that_people_named_are_refused(location):
    here = client(location)
    make_collection(here, schema_of(here))
    here.create_partition("pets", "cats")
    release(location)
    refused(location, "has partitions, and hotfill could not tell")


@pytest.mark.skipif(milvus.MISSING, reason="the package milvus has the server")
def test_a_partition_key_is_refused_where_the_server_does_not_find_by_it():
    location, name = milvus.server(), milvus.fresh_name()
    here = MilvusClient(location)
    schema = schema_of(here)
    schema.add_field("owner", DataType.VARCHAR, max_length=20, is_partition_key=True)
    make_collection(here, schema, name=name)
    with pytest.raises(StoreError, match="has a partition key, and this server does not find by"):
        MilvusGallery.adopt(location, OLD, collection=name)
    assert f"{name}_hotfill_try" not in here.list_collections()
    here.close()
