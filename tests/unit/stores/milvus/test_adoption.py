"""Collections that are there: taken over as they are, and refused where they do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from pymilvus import MilvusClient

from hotfill.errors import InputError, StoreError
from hotfill.stores.milvus import MilvusGallery
from hotfill.stores.milvus.server import Server
from hotfill.types import ModelId
from tests.unit.stores.milvus.models import NEW, NEW_ROWS, OLD, ROWS


def client(location):
    return MilvusClient(location)


def release(location):
    """End Milvus Lite's engine, as the gallery does when it is closed."""
    Server(location, token="", database="", timeout_seconds=5, ef=None).close()


def make(location, key="int", metric="COSINE", dimension=3):
    ids = [7, 1, 2, 3] if key == "int" else ["x'1", "x2", "x3", "x4"]
    here = client(location)
    here.create_collection(
        "pets", dimension=dimension, id_type=key, max_length=100, metric_type=metric
    )
    here.insert(
        "pets",
        [
            {"id": item, "vector": row, "n": n, "even": n % 2 == 0, "tags": ["a", {"b": 1}]}
            for n, (item, row) in enumerate(zip(ids, ROWS[:, :dimension].tolist(), strict=True))
        ],
    )
    release(location)
    return [str(item) for item in ids]


def content(location):
    here = client(location)
    here.load_collection("pets")
    rows = here.query("pets", filter="n >= 0", output_fields=["*"])
    release(location)
    return {str(row["id"]): dict(row) for row in rows}


@pytest.mark.parametrize("key", ["int", "string"])
def test_a_stamp_alters_no_row(location, key):
    names = make(location, key)
    before = content(location)
    for _ in range(2):  # idempotent
        with MilvusGallery.adopt(location, OLD, collection="pets") as gallery:
            assert gallery.spaces == (OLD,)
            assert gallery.count(OLD) == gallery.count(OLD, origin=OLD.fingerprint) == 4
            assert sorted(gallery.scan(OLD).item_ids) == sorted(names)
            assert gallery.get(names)[1].metadata == {"n": 1, "even": False}
            hits = gallery.search({OLD: ROWS[:1]}, 2, where={"n": [0, 2, 3]})[OLD]
            assert hits.item_ids == ((names[0], names[3]),)
            np.testing.assert_allclose(hits.scores[0], [1, 0.5**0.5], atol=1e-6)
            lengths = np.linalg.norm(gallery.vectors(names, OLD).vectors, axis=1)
            np.testing.assert_allclose(lengths, 1, atol=1e-6)
    assert content(location) == before


def test_zeros_and_lengths_of_vectors_that_are_there_are_told(location):
    make(location)
    here = client(location)
    here.upsert("pets", [{"id": 7, "vector": [0.0, 0.0, 0.0], "n": 9}])
    release(location)
    with MilvusGallery.adopt(location, OLD, collection="pets") as gallery:
        zeros, lengths = gallery.remarks()
        assert zeros.startswith("1 of 4 vectors looked at are all zero")
        assert lengths.startswith("3 of 4 vectors looked at are not of unit length")
        assert gallery.vectors(["7", "1"], OLD).item_ids == ("1",)


def test_moved_there_and_back_a_row_is_as_it_was_but_for_what_hotfill_notes(location):
    names = make(location)
    before = content(location)
    with MilvusGallery.adopt(location, OLD, collection="pets") as gallery:
        gallery.add_space(NEW)
        page = gallery.scan(OLD)
        gallery.move(page.item_ids, NEW_ROWS, space=NEW, expected_versions=page.versions)
        gallery.set_metadata(names[:1], [dict(gallery.get(names[:1])[0].metadata)])
        found = gallery.vectors(names, OLD)
        gallery.move(found.item_ids, found.vectors, space=OLD, expected_versions=found.versions)
    after = content(location)
    own = ("hotfill_version", "hotfill_origin", "hotfill_since", "hotfill_kept")
    assert {
        name: {key: value for key, value in row.items() if key not in own}
        for name, row in after.items()
    } == before


@pytest.mark.parametrize("key", ["int", "string"])
def test_an_upgrade_there_and_back_and_there_again(location, key):
    names = make(location, key)
    with MilvusGallery.adopt(location, OLD, collection="pets") as gallery:
        gallery.add_space(NEW)
        page = gallery.scan(OLD)
        place = {name: i for i, name in enumerate(names)}
        new = NEW_ROWS[[place[name] for name in page.item_ids]]
        assert gallery.move(page.item_ids, new, space=NEW, expected_versions=page.versions).all()
        assert (gallery.count(OLD), gallery.count(NEW)) == (0, 4)
        assert gallery.search({NEW: NEW_ROWS[:1]}, 5, where={"even": True})[NEW].item_ids == (
            (names[0], names[2]),
        )
        found = gallery.vectors(names[:2], OLD)
        assert gallery.move(
            found.item_ids, found.vectors, space=OLD, expected_versions=found.versions
        ).all()
    with MilvusGallery.open(location, collection="pets") as gallery:
        assert sorted(gallery.scan(OLD).item_ids) == sorted(names[:2])
        assert gallery.count(OLD, origin=OLD.fingerprint) == 2
        found = gallery.vectors(names, NEW)
        np.testing.assert_array_equal(found.vectors, NEW_ROWS)
        moved = gallery.move(names, found.vectors, space=NEW, expected_versions=found.versions)
        assert moved.all()
        assert [state.metadata["n"] for state in gallery.get(names)] == [0, 1, 2, 3]


def test_moved_rows_come_back_with_all_that_stood_in_them(location):
    names = make(location)
    before = content(location)
    with MilvusGallery.adopt(location, OLD, collection="pets") as gallery:
        gallery.add_space(NEW)
        page = gallery.scan(OLD)
        gallery.move(page.item_ids, NEW_ROWS, space=NEW, expected_versions=page.versions)
        found = gallery.vectors(names, OLD)
        gallery.move(found.item_ids, found.vectors, space=OLD, expected_versions=found.versions)
    after = content(location)
    assert {k: (v["n"], v["even"], v["tags"]) for k, v in after.items()} == {
        k: (v["n"], v["even"], v["tags"]) for k, v in before.items()
    }


def test_ids_that_the_collection_cannot_have_are_refused_where_they_are_written(location):
    make(location)
    with MilvusGallery.adopt(location, OLD, collection="pets") as gallery:
        with pytest.raises(InputError, match="are whole numbers"):
            gallery.upsert(["seven"], ROWS[:1], space=OLD)
        assert gallery.get(["seven", "07", "--7", str(2**63)]) == [None] * 4
        assert gallery.delete(["seven", "7"]) == 1
        gallery.upsert(["17"], ROWS[:1], space=OLD, metadata=[{"even": True}])
        assert gallery.get(["17"])[0].metadata == {"even": True}
        assert gallery.count(OLD) == 4


@pytest.mark.parametrize(
    ("model", "metric", "vector", "message"),
    [
        (OLD, "COSINE", "image", "no field of float vectors called 'image'; it has vector"),
        (ModelId("old", "1", 4), "COSINE", "vector", "3 numbers, those of .* have 4"),
        (ModelId("old", "1", 3, metric="l2"), "COSINE", "vector", "the metric COSINE"),
        (ModelId("old", "1", 3, normalised=False), "IP", "vector", "the metric IP"),
    ],
)
def test_what_does_not_fit_is_refused(location, model, metric, vector, message):
    make(location, metric=metric)
    with pytest.raises(StoreError, match=message):
        MilvusGallery.adopt(location, model, collection="pets", vector=vector)
    with pytest.raises(StoreError, match="there is no hotfill gallery 'pets'"):
        MilvusGallery.open(location, collection="pets")


def test_a_collection_that_is_not_there_is_named(location):
    make(location)
    with pytest.raises(StoreError, match="there is no collection 'nobody'"):
        MilvusGallery.adopt(location, OLD, collection="nobody")


def test_a_collection_is_stamped_with_one_model(location):
    make(location)
    MilvusGallery.adopt(location, OLD, collection="pets").close()
    with pytest.raises(StoreError, match="is stamped already: it holds old@1"):
        MilvusGallery.adopt(location, ModelId("old", "2", 3), collection="pets")
    MilvusGallery.open(location, collection="pets").close()
