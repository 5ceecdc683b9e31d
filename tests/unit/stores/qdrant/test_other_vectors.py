"""A collection holds more than hotfill models, as frameworks make it. None of it may get lost."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("qdrant_client")

from qdrant_client import QdrantClient, models

from hotfill.errors import InputError, StoreError
from hotfill.stores.base import Range
from hotfill.stores.qdrant import QdrantGallery
from hotfill.types import ModelId

OLD, NEW = ModelId("old", "1", 8), ModelId("new", "1", 6)
N = 12
NAMES = [str(n) for n in range(N)]
OTHERS = ("picture", "words", "tokens")


def rows(model, n=N, seed=0):
    return np.random.default_rng([seed, model.dimension]).normal(size=(n, model.dimension))


def payload(n):
    return {
        "page_content": f"text {n}",
        "metadata": {
            "source": f"file{n % 3}.txt",
            "page": n,
            "a.b": "dotted",
            "loc": {"lines": {"from": n, "to": n + 1}, "_private": n},
            "authors": ["a", "b"],
            "nothing": None,
        },
        "tags": ["x", {"y": 1}],
        "_id": f"theirs {n}",
        "_version": "theirs",
        "place": {"lat": 1.5, "lon": 2.5},
        "literal.dot": n,
    }


@pytest.fixture
def folder(tmp_path):
    """A hybrid collection: text, picture, sparse and many vectors to a point, deep payloads."""
    client = QdrantClient(path=str(tmp_path / "qdrant"))
    cosine = models.Distance.COSINE
    many = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    client.create_collection(
        "products",
        vectors_config={
            "text": models.VectorParams(size=8, distance=cosine),
            "picture": models.VectorParams(size=4, distance=cosine),
            "tokens": models.VectorParams(size=2, distance=cosine, multivector_config=many),
        },
        sparse_vectors_config={"words": models.SparseVectorParams()},
    )
    random = np.random.default_rng(1)
    client.upsert(
        "products",
        [
            models.PointStruct(
                id=n,
                vector={
                    "text": random.normal(size=8).tolist(),
                    "picture": random.normal(size=4).tolist(),
                    "tokens": random.normal(size=(3, 2)).tolist(),
                    "words": models.SparseVector(indices=[n, n + 1], values=[1.0, 0.5]),
                },
                payload=payload(n),
            )
            for n in range(N)
        ],
    )
    client.close()
    return tmp_path / "qdrant"


@pytest.fixture
def gallery(folder):
    with QdrantGallery.adopt(str(folder), OLD, collection="products", vector="text") as gallery:
        yield gallery


def content(folder):
    """What a program sees that knows nothing of hotfill: vectors and payload of each point."""
    client = QdrantClient(path=str(folder))
    records, _ = client.scroll("products", limit=100, with_vectors=True)
    client.close()
    return {str(r.id): (r.vector, r.payload) for r in records}


def theirs(vectors, payload):
    # Compared by the cosine: the local engine gives them as written, or with unit length.
    others = {name: np.array(vectors[name]) for name in ("picture", "tokens")}
    others = {
        name: (each / np.linalg.norm(each, axis=-1, keepdims=True)).round(5).tolist()
        for name, each in others.items()
    }
    others["words"] = vectors["words"]
    return others, {key: value for key, value in payload.items() if "_hotfill_" not in key}


def test_no_write_of_an_upgrade_takes_anything_of_theirs(folder):
    before = {name: theirs(*point) for name, point in content(folder).items()}
    with QdrantGallery.adopt(str(folder), OLD, collection="products", vector="text") as gallery:
        gallery.add_space(NEW)
        page = gallery.scan(OLD, limit=100)
        assert gallery.move(
            page.item_ids, rows(NEW), space=NEW, expected_versions=page.versions
        ).all()
        gallery.upsert(["7"], rows(NEW, 1), space=NEW, kept={OLD: rows(OLD, 1)})
        gallery.upsert(["8"], rows(NEW, 1), space=NEW)
        gallery.upsert(["9"], rows(OLD, 1), space=OLD)
        (state,) = gallery.get(["9"])
        assert gallery.move(
            ["9"], rows(NEW, 1), space=NEW, expected_versions=np.array([state.version])
        ).all()
        gallery.drop_space(OLD)
    after = content(folder)
    assert {name: theirs(*point) for name, point in after.items()} == before
    assert all(set(vectors) == {*OTHERS, NEW.fingerprint} for vectors, _ in after.values())


def test_a_kept_vector_of_earlier_content_goes_with_it(gallery):
    gallery.add_space(NEW)
    gallery.upsert(["7"], rows(NEW, 1), space=NEW)
    assert gallery.vectors(["7"], OLD).item_ids == ()


def test_what_another_process_prepared_is_not_taken_for_theirs(gallery):
    other = QdrantGallery(gallery._collection, gallery._stamp)
    other.add_space(NEW)
    (version,) = other.upsert(["3"], rows(NEW, 1), space=NEW, kept={OLD: rows(OLD, 1)})
    assert gallery.upsert(["3"], rows(OLD, 1), space=OLD)[0] > version
    assert gallery.vectors(["3"], NEW).item_ids == ()


def test_metadata_is_shown_at_every_depth_and_changing_one_key_changes_nothing_else(folder):
    before = content(folder)
    with QdrantGallery.adopt(str(folder), OLD, collection="products", vector="text") as gallery:
        states = gallery.get(NAMES)
        assert states[4].metadata == {
            "page_content": "text 4",
            "literal.dot": 4,
            "metadata.source": "file1.txt",
            "metadata.page": 4,
            "metadata.a.b": "dotted",
            "metadata.loc.lines.from": 4,
            "metadata.loc.lines.to": 5,
            "place.lat": 1.5,
            "place.lon": 2.5,
        }
        gallery.set_metadata(["4"], [{**states[4].metadata, "metadata.page": 99}])
        gallery.upsert(
            ["5"], rows(OLD, 1), space=OLD, metadata=[{**states[5].metadata, "metadata.new": True}]
        )
        gallery.set_metadata(["6"], [{"page_content": "only this"}])
        assert gallery.get(["6"])[0].metadata == {"page_content": "only this"}
    after = content(folder)
    before["4"][1]["metadata"]["page"] = 99
    before["5"][1]["metadata"]["new"] = True
    for key in ("source", "page", "a.b"):
        del before["6"][1]["metadata"][key]
    before["6"][1]["metadata"]["loc"]["lines"] = {}
    before["6"][1].update({"place": {}, "page_content": "only this"})
    del before["6"][1]["literal.dot"]
    for name in NAMES:
        assert theirs(*after[name])[1] == before[name][1], name


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"metadata.source": "file1.txt"}, {"1", "4", "7", "10"}),
        ({"metadata.source": ["file1.txt", "file2.txt"], "metadata.page": Range(at_most=4)}, "124"),
        ({"metadata.loc.lines.from": [2, 3.0, 7]}, "237"),
        ({"literal.dot": 5}, "5"),
        ({"metadata.a.b": "dotted", "metadata.page": 3}, "3"),
        ({"metadata.page": True}, ""),
        ({"metadata": "file1.txt"}, ""),
    ],
)
def test_filters_reach_nested_keys(gallery, where, found):
    hits = gallery.search({OLD: rows(OLD, 1)}, N, where=where)[OLD]
    assert set(hits.item_ids[0]) == set(found)


@pytest.mark.parametrize(
    "metadata", [{"tags": "x"}, {"metadata": 1}, {"metadata.authors": "a"}, {"page_content.x": 1}]
)
def test_metadata_that_would_take_the_place_of_something_else_is_refused(folder, metadata):
    before = content(folder)
    with QdrantGallery.adopt(str(folder), OLD, collection="products", vector="text") as gallery:
        for write in (
            lambda: gallery.set_metadata(["4"], [metadata]),
            lambda: gallery.upsert(["4"], rows(OLD, 1), space=OLD, metadata=[metadata]),
        ):
            with pytest.raises(InputError, match="hotfill leaves it as it is: use another key"):
                write()
    assert content(folder) == before


def test_stored_zeros_and_points_without_the_vector_are_embedded_like_others(folder):
    client = QdrantClient(path=str(folder))
    zeros = models.PointVectors(id=2, vector={"text": [0.0] * 8})
    client.update_vectors("products", [zeros])
    client.delete_vectors("products", ["text"], [5])
    client.close()
    with QdrantGallery.adopt(str(folder), OLD, collection="products", vector="text") as gallery:
        assert gallery.count(OLD) == N
        usable = gallery.vectors(NAMES, OLD)
        assert usable.item_ids == tuple(name for name in NAMES if name not in ("2", "5"))
        np.testing.assert_allclose(np.linalg.norm(usable.vectors, axis=1), 1, atol=1e-6)
        hits = gallery.search({OLD: rows(OLD, 1)}, 50)[OLD]
        assert "5" not in hits.item_ids[0]
        assert np.isfinite(hits.scores[0]).all()
        gallery.add_space(NEW)
        page = gallery.scan(OLD, limit=100)
        assert set(page.item_ids) == set(NAMES)
        assert gallery.move(
            page.item_ids, rows(NEW), space=NEW, expected_versions=page.versions
        ).all()
        assert len(gallery.search({NEW: rows(NEW, 1)}, 50)[NEW].item_ids[0]) == N


def test_opening_makes_no_folder(tmp_path):
    for way in (QdrantGallery.open, lambda place, **o: QdrantGallery.adopt(place, OLD, **o)):
        with pytest.raises(StoreError, match=r"has no meta\.json"):
            way(str(tmp_path / "none"), collection="products")
    assert list(tmp_path.iterdir()) == []
