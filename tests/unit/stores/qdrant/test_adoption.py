"""Collections that are there: taken over as they are, and refused where they do not fit."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("qdrant_client")

from qdrant_client import QdrantClient, models

from hotfill.errors import InputError, StoreError
from hotfill.stores.qdrant import QdrantGallery
from hotfill.types import ModelId

OLD = ModelId("old", "1", 3)
NEW = ModelId("new", "1", 2, metric="dot", normalised=False)
UUIDS = [f"00000000-0000-0000-0000-00000000000{n}" for n in range(4)]
ROWS = np.array([[2, 0, 0], [0, 3, 0], [0, 0, 4], [1, 1, 0]], dtype=np.float32)
KINDS = {"numbers, unnamed": (list(range(4)), ""), "UUIDs, named": (UUIDS, "image")}


def made(folder, kind, distance=models.Distance.COSINE):
    ids, vector = KINDS[kind]
    params = models.VectorParams(size=3, distance=distance)
    client = QdrantClient(path=str(folder))
    client.create_collection("pets", vectors_config={vector: params} if vector else params)
    client.upsert(
        "pets",
        [
            models.PointStruct(
                id=point,
                vector={vector: row} if vector else row,
                payload={"n": n, "tags": ["a", {"b": 1}], "_theirs": "x"},
            )
            for n, (point, row) in enumerate(zip(ids, ROWS.tolist(), strict=True))
        ],
    )
    client.close()
    return [str(point) for point in ids], vector


def content(folder):
    client = QdrantClient(path=str(folder))
    records, _ = client.scroll("pets", limit=100, with_vectors=True)
    client.close()
    return {str(record.id): (record.vector, record.payload) for record in records}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stamp_alters_no_point(tmp_path, kind):
    names, vector = made(tmp_path, kind)
    before = content(tmp_path)
    for _ in range(2):  # idempotent
        with QdrantGallery.adopt(str(tmp_path), OLD, collection="pets", vector=vector) as gallery:
            assert gallery.spaces == (OLD,)
            assert gallery.count(OLD) == gallery.count(OLD, origin=OLD.fingerprint) == 4
            assert sorted(gallery.scan(OLD).item_ids) == names
            assert gallery.get(names)[1].metadata == {"n": 1}
            hits = gallery.search({OLD: ROWS[:1]}, 2, where={"n": [0, 2, 3]})[OLD]
            assert hits.item_ids == ((names[0], names[3]),)
            np.testing.assert_allclose(hits.scores[0], [1, 0.5**0.5], atol=1e-6)
            lengths = np.linalg.norm(gallery.vectors(names, OLD).vectors, axis=1)
            np.testing.assert_allclose(lengths, 1, atol=1e-6)
    assert content(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
def test_an_upgrade_there_and_back_and_there_again(tmp_path, kind):
    names, vector = made(tmp_path, kind)
    new = np.array([[1, 0], [0, 1], [1, 1], [2, 2]], dtype=np.float32)
    with QdrantGallery.adopt(str(tmp_path), OLD, collection="pets", vector=vector) as gallery:
        gallery.add_space(NEW)
        versions = gallery.scan(OLD).versions
        assert gallery.move(names, new, space=NEW, expected_versions=versions).all()
        assert (gallery.count(OLD), gallery.count(NEW)) == (0, 4)
        found = gallery.vectors(names[:2], OLD)
        assert gallery.move(
            found.item_ids, found.vectors, space=OLD, expected_versions=found.versions
        ).all()
    with QdrantGallery.open(str(tmp_path), collection="pets") as gallery:
        assert sorted(gallery.scan(OLD).item_ids) == names[:2]
        assert gallery.search({NEW: new[:1]}, 5)[NEW].item_ids[0] == (names[3], names[2])
        found = gallery.vectors(names, NEW)
        assert gallery.move(names, found.vectors, space=NEW, expected_versions=found.versions).all()
        gallery.drop_space(OLD)
        assert gallery.spaces == (NEW,)
        assert gallery.vectors(names, NEW).item_ids == tuple(names)
        assert [state.metadata for state in gallery.get(names)] == [{"n": n} for n in range(4)]
    assert all(payload["tags"] == ["a", {"b": 1}] for _, payload in content(tmp_path).values())


def test_writes_keep_what_others_put_beside_the_vectors(tmp_path):
    names, _ = made(tmp_path, "numbers, unnamed")
    with QdrantGallery.adopt(str(tmp_path), OLD, collection="pets") as gallery:
        versions = gallery.upsert(["1", "17"], ROWS[:2], space=OLD)
        gallery.upsert(["2"], ROWS[:1], space=OLD, metadata=[{"m": 1}])
        assert gallery.get(["1"])[0].version == versions[0]
        with pytest.raises(InputError, match="called by their point ids"):
            gallery.upsert(["seventeen"], ROWS[:1], space=OLD)
        assert gallery.get(["seventeen", "017"]) == [None, None]
        assert gallery.delete(["seventeen", "17"]) == 1
        stale = np.zeros(4, dtype=np.int64)
        gallery.add_space(NEW)
        moved = gallery.move(
            names, np.ones((4, 2)), space=NEW, expected_versions=stale
        )  # 1 and 2 were written since
        assert moved.tolist() == [True, False, False, True]
        assert gallery.get(["2"])[0].metadata == {"m": 1}
    theirs = {"tags": ["a", {"b": 1}], "_theirs": "x"}
    for name, (_, payload) in content(tmp_path).items():
        kept = {key: value for key, value in payload.items() if not key.startswith("_hotfill_")}
        assert kept == {**theirs, **({"m": 1} if name == "2" else {"n": int(name)})}


@pytest.mark.parametrize(
    ("vector", "model", "message"),
    [
        ("image", OLD, r"no vector called 'image'; it has ''"),
        ("", ModelId("old", "1", 4), "3 numbers, those of .* have 4"),
        ("", ModelId("old", "1", 3, metric="l2"), "compares '' by Cosine"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, vector, model, message):
    made(tmp_path, "numbers, unnamed")
    before = content(tmp_path)
    with pytest.raises(StoreError, match=message):
        QdrantGallery.adopt(str(tmp_path), model, collection="pets", vector=vector)
    with pytest.raises(StoreError, match="no hotfill gallery"):
        QdrantGallery.open(str(tmp_path), collection="pets")
    assert content(tmp_path) == before


def test_a_collection_is_stamped_with_one_model(tmp_path):
    made(tmp_path, "numbers, unnamed")
    QdrantGallery.adopt(str(tmp_path), OLD, collection="pets").close()
    with pytest.raises(StoreError, match="is stamped already: it holds old@1"):
        QdrantGallery.adopt(str(tmp_path), ModelId("old", "2", 3), collection="pets")
