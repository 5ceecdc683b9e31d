"""The code for servers, over HTTP, against a stand-in that hands requests to the local engine."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("qdrant_client")

from hotfill.errors import StoreError
from hotfill.stores import MemoryGallery, Range
from hotfill.stores.qdrant import QdrantGallery
from hotfill.types import ModelId
from tests.unit.stores.qdrant.stand_in import serving

OLD = ModelId("old", "1", 4)
NEW = ModelId("new", "1", 3, metric="l2", normalised=False)
NAMES = [f"item {n}" for n in range(12)]


def rows(seed, model, n=12):
    return np.random.default_rng(seed).normal(size=(n, model.dimension)).astype(np.float32)


@pytest.fixture
def server():
    with serving() as (stand_in, address):
        yield stand_in, address


@pytest.fixture
def gallery(server):
    with QdrantGallery.create(server[1], OLD) as gallery:
        gallery.add_space(NEW)
        yield gallery


def test_a_whole_upgrade_there_and_back_gives_the_answers_of_the_reference(server):
    metadata = [{"n": n, "even": n % 2 == 0, "a.b": f"'{n}'"} for n in range(len(NAMES))]
    old, new = rows(0, OLD), rows(1, NEW)
    with QdrantGallery.create(server[1], OLD, collection="a-b") as real:
        model = MemoryGallery(OLD)
        for gallery in (model, real):
            versions = gallery.upsert(NAMES, old, space=OLD, metadata=metadata)
            gallery.add_space(NEW)
            assert gallery.move(NAMES[:7], new[:7], space=NEW, expected_versions=versions[:7]).all()
            gallery.move(
                NAMES[6:9], new[6:9], space=NEW, expected_versions=versions[6:9], origin="up"
            )
            gallery.upsert(NAMES[3:4], rows(9, OLD, 1), space=OLD)
            gallery.set_metadata(NAMES[4:6], [{"n": -1}, {}])
            gallery.delete(NAMES[5:6])
            found = gallery.vectors(NAMES[:2], OLD)
            gallery.move(found.item_ids, found.vectors, space=OLD, expected_versions=found.versions)
        queries = {OLD: rows(2, OLD, 2), NEW: rows(3, NEW, 2)}
        for where in (None, {"n": Range(at_least=2)}, {"even": True}, {"a.b": ["'7'", 7]}):
            expected, given = (g.search(queries, 5, where=where) for g in (model, real))
            assert {s: h.item_ids for s, h in expected.items()} == {
                s: h.item_ids for s, h in given.items()
            }
        for space in (OLD, NEW):
            assert model.count(space) == real.count(space)
            assert sorted(model.scan(space).item_ids) == sorted(real.scan(space).item_ids)
            assert model.vectors(NAMES, space).item_ids == real.vectors(NAMES, space).item_ids
        assert [s and (s.space, s.origin, s.metadata) for s in model.get(NAMES)] == [
            s and (s.space, s.origin, s.metadata) for s in real.get(NAMES)
        ]
    with QdrantGallery.open(server[1], collection="a-b") as again:
        assert again.spaces == (OLD, NEW)


def test_the_payload_keys_that_conditions_ask_for_are_indexed(server, gallery):
    assert ("PUT", "/collections/items/index") in server[0].asked
    assert gallery.capabilities.many_processes
    assert not gallery.capabilities.snapshot_reads


def test_a_space_that_another_process_added_is_known_at_once(server, gallery):
    newest = ModelId("newest", "1", 2)
    with QdrantGallery.open(server[1]) as other:
        other.add_space(newest)
    assert gallery.count(newest) == 0
    assert gallery.spaces == (OLD, NEW, newest)
    with QdrantGallery.open(server[1]) as other:
        other.drop_space(newest)
    assert gallery.spaces == (OLD, NEW)


@pytest.mark.parametrize("way", ["forward", "back"])
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_an_item_that_another_process_moves_within_a_search_is_found(server, gallery, way, after):
    stand_in, address = server
    old, new = rows(0, OLD, 1), rows(1, NEW, 1)
    versions = gallery.upsert(["a"], old, space=OLD)
    if way == "back":
        gallery.move(["a"], new, space=NEW, expected_versions=versions)
    searches = []

    def move_before(method, path):
        if path.endswith("/query/batch"):
            searches.append(path)
            if len(searches) == after:
                stand_in.before = lambda method, path: None
                space, row = (NEW, new) if way == "forward" else (OLD, old)
                with QdrantGallery.open(address) as other:
                    other.move(["a"], row, space=space, expected_versions=versions)
                stand_in.before = move_before

    stand_in.before = move_before
    hits = gallery.search({OLD: old, NEW: new}, 3)
    assert len(searches) == 3  # the older side, the newer one, the older one again
    assert "a" in hits[OLD].item_ids[0] + hits[NEW].item_ids[0]


def test_what_the_server_says_is_passed_on(server):
    with pytest.raises(StoreError, match="there is no collection 'nobody'"):
        QdrantGallery.open(server[1], collection="nobody")
    QdrantGallery.create(server[1], OLD, collection="there").close()
    with pytest.raises(StoreError, match="there is a collection 'there' already"):
        QdrantGallery.create(server[1], OLD, collection="there")


def test_a_server_that_is_away_may_be_asked_again():
    with pytest.raises(StoreError, match="could not look for the collection") as caught:
        QdrantGallery.open("http://127.0.0.1:9", timeout_seconds=1)
    assert caught.value.retryable
