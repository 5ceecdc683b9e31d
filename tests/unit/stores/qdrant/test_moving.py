"""A move cut after any of its steps, and writes of others between any two of them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("qdrant_client")

from hotfill.errors import StoreError
from hotfill.stores.qdrant import QdrantGallery, collection
from hotfill.stores.qdrant.collection import Collection
from hotfill.types import ModelId

OLD = ModelId("old", "1", 3)
NEW = ModelId("new", "1", 2, metric="dot", normalised=False)
ROWS, NEW_ROWS = np.eye(3, dtype=np.float32), np.ones((3, 2), dtype=np.float32)
NAMES = ["a", "b", "c"]


@pytest.fixture
def gallery():
    with QdrantGallery.create(":memory:", OLD) as gallery:
        gallery.add_space(NEW)
        yield gallery


def one_by_one(monkeypatch, before):
    """Do operations one by one; call `before` with the number of each that belongs to a move."""
    update = Collection.update

    def slowly(self, operations):
        for number, operation in enumerate(operations):
            if len(operations) == 3:
                before(number)
            update(self, [operation])

    monkeypatch.setattr(Collection, "update", slowly)


@pytest.mark.parametrize("origin", [None, "up"])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_move_that_is_cut_leaves_every_item_where_it_was(gallery, monkeypatch, step, origin):
    versions = gallery.upsert(NAMES, ROWS, space=OLD)

    def cut(number):
        if number == step:
            raise StoreError("cut")

    with monkeypatch.context() as patched:
        one_by_one(patched, cut)
        with pytest.raises(StoreError, match="cut"):
            gallery.move(NAMES, NEW_ROWS, space=NEW, expected_versions=versions, origin=origin)
    assert (gallery.count(OLD), gallery.count(NEW)) == (3, 0)
    hits = gallery.search({OLD: ROWS[:1], NEW: NEW_ROWS[:1]}, 5)
    assert (len(hits[OLD].item_ids[0]), hits[NEW].item_ids[0]) == (3, ())
    assert gallery.move(NAMES, NEW_ROWS, space=NEW, expected_versions=versions).all()
    assert [state.origin for state in gallery.get(NAMES)] == [NEW.fingerprint] * 3


@pytest.mark.parametrize("origin", [None, "up"])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_write_and_a_delete_between_two_steps_win(gallery, monkeypatch, step, origin):
    versions = gallery.upsert(NAMES, ROWS, space=OLD)
    live = np.full((1, 3), 0.57735027, dtype=np.float32)
    done = []

    def write(number):
        if number == step and not done:
            done.append(number)
            gallery.upsert(["a"], live, space=OLD)
            gallery.delete(["b"])

    one_by_one(monkeypatch, write)
    moved = gallery.move(NAMES, NEW_ROWS, space=NEW, expected_versions=versions, origin=origin)
    assert moved.tolist() == [False, False, True]
    assert [state and state.space for state in gallery.get(NAMES)] == [OLD, None, NEW]
    np.testing.assert_allclose(gallery.vectors(["a"], OLD).vectors, live, atol=1e-6)
    assert gallery.vectors(["a"], NEW).item_ids == ()


def test_many_items_go_in_several_requests(gallery, monkeypatch):
    monkeypatch.setattr(collection, "_AT_ONCE", 10)
    n = 25
    names = [f"item{i}" for i in range(n)]
    rows = np.random.default_rng(0).normal(size=(n, 3))
    versions = gallery.upsert(names, rows, space=OLD, metadata=[{"n": i} for i in range(n)])
    assert gallery.move(names, np.ones((n, 2)), space=NEW, expected_versions=versions).all()
    gallery.set_metadata(names, [{"n": -1}] * n)
    assert len(gallery.search({NEW: NEW_ROWS[:1]}, n, where={"n": -1})[NEW].item_ids[0]) == n
    assert gallery.vectors(names, OLD).item_ids == tuple(names)
    assert gallery.delete(names) == n
