"""Kept vectors: there for the way back, void after an edit, never searched."""

import numpy as np
import pytest

from hotfill.errors import StoreError
from hotfill.testing.models import NEW, NEWEST, OLD


def test_the_earlier_vector_can_be_read_after_a_move(store, rows):
    gallery, old = store.gallery(OLD, NEW), rows(2, OLD)
    versions = gallery.upsert(["a", "b"], old, space=OLD)
    gallery.move(["a"], rows(1, NEW), space=NEW, expected_versions=versions[:1])
    found = store.again(gallery).vectors(["a", "b"], OLD)
    assert found.item_ids == ("a", "b")
    assert found.versions.tolist() == versions.tolist()
    np.testing.assert_allclose(found.vectors, old, atol=1e-6)


def test_an_edit_makes_kept_vectors_void(store, rows):
    gallery = store.gallery(OLD, NEW)
    versions = gallery.upsert(["a", "b"], rows(2, OLD), space=OLD)
    gallery.move(["a", "b"], rows(2, NEW), space=NEW, expected_versions=versions)
    gallery.upsert(["a"], rows(1, NEW), space=NEW)
    assert gallery.vectors(["a", "b"], OLD).item_ids == ("b",)


def test_a_delete_makes_kept_vectors_void(store, rows):
    gallery = store.gallery(OLD, NEW)
    versions = gallery.upsert(["a"], rows(1, OLD), space=OLD)
    gallery.move(["a"], rows(1, NEW), space=NEW, expected_versions=versions)
    gallery.delete(["a"])
    gallery.upsert(["a"], rows(1, NEW), space=NEW)
    assert gallery.vectors(["a"], OLD).item_ids == ()


def test_a_write_may_bring_kept_vectors_of_its_own(store, rows):
    gallery, old, older = store.gallery(OLD, NEW, NEWEST), rows(2, OLD), rows(2, NEW)
    versions = gallery.upsert(["a"], rows(1, OLD), space=OLD)
    gallery.move(["a"], rows(1, NEW), space=NEW, expected_versions=versions)
    versions = gallery.upsert(
        ["a", "b"], rows(2, NEWEST), space=NEWEST, kept={OLD: old, NEW: older}
    )
    gallery = store.again(gallery)
    assert [gallery.count(space) for space in (OLD, NEW, NEWEST)] == [0, 0, 2]
    found = gallery.vectors(["a", "b"], OLD)
    assert found.versions.tolist() == versions.tolist()
    np.testing.assert_allclose(found.vectors, old, atol=1e-6)
    np.testing.assert_array_equal(gallery.vectors(["b", "a"], NEW).vectors, older[::-1])
    assert gallery.search({OLD: rows(1, OLD)}, 5)[OLD].item_ids == ((),)


def test_each_space_keeps_its_own_kept_vector(store, rows):
    gallery, old, new = store.gallery(OLD, NEW, NEWEST), rows(1, OLD), rows(1, NEW)
    versions = gallery.upsert(["a"], old, space=OLD)
    gallery.move(["a"], new, space=NEW, expected_versions=versions)
    gallery.move(["a"], rows(1, NEWEST), space=NEWEST, expected_versions=versions)
    np.testing.assert_allclose(gallery.vectors(["a"], OLD).vectors, old, atol=1e-6)
    np.testing.assert_array_equal(gallery.vectors(["a"], NEW).vectors, new)


def test_dropping_a_space_removes_its_kept_vectors_for_good(store, rows):
    gallery = store.gallery(OLD, NEW)
    versions = gallery.upsert(["a"], rows(1, OLD), space=OLD)
    gallery.move(["a"], rows(1, NEW), space=NEW, expected_versions=versions)
    gallery.drop_space(OLD)
    gallery.drop_space(OLD)
    assert gallery.spaces == (NEW,)
    gallery = store.again(gallery)
    assert gallery.spaces == (NEW,)
    assert gallery.get(["a"])[0].space == NEW
    gallery.add_space(OLD)
    assert gallery.spaces == (NEW, OLD)
    assert gallery.vectors(["a"], OLD).item_ids == ()
    assert gallery.move(["a"], rows(1, OLD), space=OLD, expected_versions=versions).all()


def test_a_space_is_not_dropped_while_items_are_searched_there(store, rows):
    gallery = store.gallery(OLD, NEW)
    gallery.upsert(["a", "b"], rows(2, OLD), space=OLD)
    with pytest.raises(StoreError, match="2 items are searched there"):
        gallery.drop_space(OLD)
    assert gallery.spaces == (OLD, NEW)
    assert len(gallery.search({OLD: rows(1, OLD)}, 5)[OLD].item_ids[0]) == 2


def test_adding_a_space_again_is_harmless(store, rows):
    gallery = store.gallery(OLD, NEW)
    gallery.upsert(["a"], rows(1, OLD), space=OLD)
    gallery.add_space(OLD)
    gallery.add_space(NEW)
    assert gallery.spaces == (OLD, NEW)
    assert gallery.count(OLD) == 1
