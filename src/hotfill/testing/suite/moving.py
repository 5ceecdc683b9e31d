"""Moves: forward, backward, again; only of the content that was meant."""

import numpy as np

from hotfill.testing.models import NEW, NEWEST, OLD, UP


def test_a_moved_item_is_searched_in_the_new_space_only(store, rows):
    gallery, vectors = store.gallery(OLD, NEW), rows(2, NEW)
    versions = gallery.upsert(["a", "b", "c"], rows(3, OLD), space=OLD, metadata=[{"n": 1}] * 3)
    moved = gallery.move(["a", "c"], vectors, space=NEW, expected_versions=versions[[0, 2]])
    assert moved.dtype == np.bool_
    assert moved.tolist() == [True, True]
    state = gallery.get(["a"])[0]
    assert (state.space, state.origin, state.version) == (NEW, NEW.fingerprint, versions[0])
    assert state.metadata == {"n": 1}
    np.testing.assert_array_equal(gallery.vectors(["a", "c"], NEW).vectors, vectors)
    hits = gallery.search({OLD: rows(1, OLD), NEW: rows(1, NEW)}, 5)
    assert hits[OLD].item_ids == (("b",),)
    assert sorted(hits[NEW].item_ids[0]) == ["a", "c"]
    assert (gallery.count(OLD), gallery.count(NEW), len(gallery)) == (1, 2, 3)


def test_moving_again_is_harmless(store, rows):
    gallery, vectors = store.gallery(OLD, NEW), rows(2, NEW)
    versions = gallery.upsert(["a", "b"], rows(2, OLD), space=OLD)
    for _ in range(2):
        assert gallery.move(["a", "b"], vectors, space=NEW, expected_versions=versions).all()
        assert gallery.move(["b"], vectors[1:], space=NEW, expected_versions=versions[1:]).all()
    assert (gallery.count(OLD), gallery.count(NEW)) == (0, 2)
    np.testing.assert_array_equal(gallery.vectors(["a", "b"], NEW).vectors, vectors)
    assert gallery.vectors(["a", "b"], OLD).item_ids == ("a", "b")


def test_items_move_back_by_their_kept_vectors(store, rows):
    gallery, old, new = store.gallery(OLD, NEW), rows(3, OLD), rows(3, NEW)
    names = ["a", "b", "c"]
    versions = gallery.upsert(names, old, space=OLD)
    gallery.move(names, new, space=NEW, expected_versions=versions)
    found = gallery.vectors(names, OLD)
    assert gallery.move(
        found.item_ids, found.vectors, space=OLD, expected_versions=found.versions
    ).all()
    assert (gallery.count(OLD), gallery.count(NEW)) == (3, 0)
    np.testing.assert_allclose(gallery.vectors(names, OLD).vectors, old, atol=1e-6)
    np.testing.assert_array_equal(gallery.vectors(names, NEW).vectors, new)
    found = gallery.vectors(names, NEW)
    assert gallery.move(
        found.item_ids, found.vectors, space=NEW, expected_versions=found.versions
    ).all()
    assert (gallery.count(OLD), gallery.count(NEW)) == (0, 3)


def test_edited_deleted_and_reinserted_items_are_left_alone(store, rows):
    gallery = store.gallery(OLD, NEW)
    names = ["kept", "edited", "deleted", "reinserted"]
    stale = gallery.upsert(names, rows(4, OLD), space=OLD)
    edited = rows(1, OLD)
    gallery.upsert(["edited"], edited, space=OLD)
    gallery.delete(["deleted", "reinserted"])
    gallery.upsert(["reinserted"], rows(1, OLD), space=OLD)
    names.append("never there")
    moved = gallery.move(
        names, rows(5, NEW), space=NEW, expected_versions=np.append(stale, np.int64(1))
    )
    assert moved.tolist() == [True, False, False, False, False]
    assert [s and s.space for s in gallery.get(names)] == [NEW, OLD, None, OLD, None]
    assert (gallery.count(OLD), gallery.count(NEW)) == (2, 1)
    np.testing.assert_allclose(gallery.vectors(["edited"], OLD).vectors, edited, atol=1e-6)


def test_a_write_to_the_new_side_beats_a_batch_in_flight(store, rows):
    gallery, live = store.gallery(OLD, NEW), rows(1, NEW)
    stale = gallery.upsert(["a"], rows(1, OLD), space=OLD)
    gallery.upsert(["a"], live, space=NEW)
    moved = gallery.move(["a"], rows(1, NEW), space=NEW, expected_versions=stale)
    assert not moved.any()
    np.testing.assert_array_equal(gallery.vectors(["a"], NEW).vectors, live)


def test_items_of_one_batch_may_come_from_different_sides(store, rows):
    gallery, newest = store.gallery(OLD, NEW, NEWEST), rows(3, NEWEST)
    names = ["a", "b", "c"]
    versions = gallery.upsert(names, rows(3, OLD), space=OLD)
    gallery.move(["b"], rows(1, NEW), space=NEW, expected_versions=versions[1:2])
    gallery.move(["c"], newest[2:], space=NEWEST, expected_versions=versions[2:])
    assert gallery.move(names, newest, space=NEWEST, expected_versions=versions).all()
    assert [gallery.count(space) for space in (OLD, NEW, NEWEST)] == [0, 0, 3]
    assert gallery.vectors(names, OLD).item_ids == ("a", "b", "c")
    assert gallery.vectors(names, NEW).item_ids == ("b",)


def test_a_chain_is_searched_on_three_sides(store, rows):
    gallery = store.gallery(OLD, NEW, NEWEST)
    names = ["a", "b", "c"]
    versions = gallery.upsert(names, rows(3, OLD), space=OLD)
    gallery.move(["b", "c"], rows(2, NEW), space=NEW, expected_versions=versions[1:])
    gallery.move(["c"], rows(1, NEWEST), space=NEWEST, expected_versions=versions[2:])
    queries = {space: rows(1, space) for space in (OLD, NEW, NEWEST)}
    hits = gallery.search(queries, 5)
    assert [hits[space].item_ids for space in (OLD, NEW, NEWEST)] == [
        (("a",),),
        (("b",),),
        (("c",),),
    ]
    assert gallery.spaces == (OLD, NEW, NEWEST)


def test_a_transforms_vector_gives_way_to_the_models_own(store, rows):
    gallery, own = store.gallery(OLD, NEW), rows(1, NEW)
    versions = gallery.upsert(["a"], rows(1, OLD), space=OLD)
    at = {"space": NEW, "expected_versions": versions}
    assert gallery.move(["a"], rows(1, NEW), **at, origin=UP).all()
    assert gallery.get(["a"])[0].origin == UP
    assert (gallery.count(NEW, origin=UP), gallery.count(NEW, origin=NEW.fingerprint)) == (1, 0)
    assert gallery.move(["a"], rows(1, NEW), **at, origin="better-transform").all()
    assert gallery.get(["a"])[0].origin == "better-transform"
    assert gallery.move(["a"], own, **at).all()
    assert gallery.get(["a"])[0].origin == NEW.fingerprint
    assert (gallery.count(NEW, origin=UP), gallery.count(NEW, origin=NEW.fingerprint)) == (0, 1)
    np.testing.assert_array_equal(gallery.vectors(["a"], NEW).vectors, own)


def test_a_transforms_vector_never_replaces_the_models_own(store, rows):
    gallery, own = store.gallery(OLD, NEW), rows(1, NEW)
    versions = gallery.upsert(["a", "b"], rows(2, OLD), space=OLD)
    gallery.move(["a"], own, space=NEW, expected_versions=versions[:1])
    moved = gallery.move(["a", "b"], rows(2, NEW), space=NEW, expected_versions=versions, origin=UP)
    assert moved.tolist() == [False, True]
    np.testing.assert_array_equal(gallery.vectors(["a"], NEW).vectors, own)
    assert [state.origin for state in gallery.get(["a", "b"])] == [NEW.fingerprint, UP]


def test_naming_the_model_itself_as_origin_is_the_same_as_naming_none(store, rows):
    gallery = store.gallery(OLD, NEW)
    versions = gallery.upsert(["a"], rows(1, OLD), space=OLD)
    at = {"space": NEW, "expected_versions": versions, "origin": NEW.fingerprint}
    assert gallery.move(["a"], rows(1, NEW), **at).all()
    assert gallery.get(["a"])[0].origin == NEW.fingerprint
    assert gallery.move(["a"], rows(1, NEW), **at).all()


def test_the_origin_counts_only_in_its_own_space(store, rows):
    gallery = store.gallery(OLD, NEW, NEWEST)
    versions = gallery.upsert(["a"], rows(1, OLD), space=OLD)
    gallery.move(["a"], rows(1, NEW), space=NEW, expected_versions=versions, origin=UP)
    gallery.move(["a"], rows(1, NEWEST), space=NEWEST, expected_versions=versions)
    assert gallery.get(["a"])[0].origin == NEWEST.fingerprint
    assert gallery.count(NEWEST, origin=NEWEST.fingerprint) == 1
    assert gallery.count(NEW, origin=UP) == 0
    gallery.move(["a"], rows(1, OLD), space=OLD, expected_versions=versions)
    assert gallery.get(["a"])[0].origin == OLD.fingerprint
