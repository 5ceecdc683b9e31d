"""Writing, reading and deleting items."""

import numpy as np
import pytest

from hotfill.errors import ClosedSideError
from hotfill.testing.models import NEW, OLD, STRANGER, UP


def test_a_new_gallery_is_empty(store, rows):
    gallery = store.gallery(OLD)
    assert len(gallery) == gallery.count(OLD) == 0
    assert gallery.get(["a"]) == [None]
    assert gallery.scan(OLD).item_ids == ()
    assert gallery.scan(OLD).cursor is None
    assert gallery.vectors(["a"], OLD).vectors.shape == (0, 6)
    assert gallery.search({OLD: rows(2, OLD)}, 3)[OLD].item_ids == ((), ())


def test_written_items_can_be_read(store, rows):
    gallery, vectors = store.gallery(OLD), rows(3, OLD)
    versions = gallery.upsert(
        ["a", "b", "c"], vectors, space=OLD, metadata=[{"n": 1}, {"t": "x"}, {}]
    )
    state = gallery.get(["c", "nobody", "a"])
    assert state[1] is None
    assert (state[2].item_id, state[2].version, state[2].space) == ("a", versions[0], OLD)
    assert (state[2].origin, state[2].metadata) == (OLD.fingerprint, {"n": 1})
    assert state[0].metadata == {}
    found = gallery.vectors(["c", "nobody", "a"], OLD)
    assert found.item_ids == ("c", "a")
    assert found.versions.tolist() == [versions[2], versions[0]]
    assert found.vectors.dtype == np.float32
    np.testing.assert_allclose(found.vectors, vectors[[2, 0]], atol=1e-6)


def test_vectors_come_back_as_given_except_that_cosine_ones_have_unit_length(store, rows):
    gallery = store.gallery(OLD, NEW)
    cosine, euclidean = 3 * rows(1, OLD), 3 * rows(1, NEW)
    gallery.upsert(["a"], cosine, space=OLD)
    gallery.upsert(["b"], euclidean, space=NEW)
    np.testing.assert_allclose(gallery.vectors(["a"], OLD).vectors, cosine / 3, atol=1e-6)
    np.testing.assert_array_equal(gallery.vectors(["b"], NEW).vectors, euclidean)


def test_versions_grow_with_every_write_and_outlive_a_delete(store, rows):
    gallery = store.gallery(OLD)
    first = gallery.upsert(["a", "b"], rows(2, OLD), space=OLD)
    second = gallery.upsert(["a"], rows(1, OLD), space=OLD)
    gallery.delete(["a"])
    gallery = store.again(gallery)
    third = gallery.upsert(["a"], rows(1, OLD), space=OLD)
    assert first.dtype == np.int64
    assert first[0] != first[1]
    assert first.max() < second[0] < third[0]


def test_writing_again_replaces_the_vector_and_keeps_the_metadata_unless_given(store, rows):
    gallery, vectors = store.gallery(OLD), rows(2, OLD)
    gallery.upsert(["a"], rows(1, OLD), space=OLD, metadata=[{"n": 1}])
    gallery.upsert(["a"], vectors[:1], space=OLD)
    assert gallery.get(["a"])[0].metadata == {"n": 1}
    np.testing.assert_allclose(gallery.vectors(["a"], OLD).vectors, vectors[:1], atol=1e-6)
    gallery.upsert(["a"], vectors[1:], space=OLD, metadata=[{"m": 2}])
    assert gallery.get(["a"])[0].metadata == {"m": 2}
    assert gallery.count(OLD) == 1


def test_writing_into_another_space_takes_the_item_there(store, rows):
    gallery = store.gallery(OLD, NEW)
    gallery.upsert(["a", "b"], rows(2, OLD), space=OLD)
    gallery.upsert(["a"], rows(1, NEW), space=NEW)
    assert gallery.get(["a"])[0].space == NEW
    assert (gallery.count(OLD), gallery.count(NEW)) == (1, 1)
    assert gallery.vectors(["a"], OLD).item_ids == ()
    hits = gallery.search({OLD: rows(1, OLD), NEW: rows(1, NEW)}, 5)
    assert (hits[OLD].item_ids, hits[NEW].item_ids) == ((("b",),), (("a",),))


def test_writing_new_content_clears_the_mark_of_a_transform(store, rows):
    gallery = store.gallery(OLD, NEW)
    versions = gallery.upsert(["a"], rows(1, OLD), space=OLD)
    gallery.move(["a"], rows(1, NEW), space=NEW, expected_versions=versions, origin=UP)
    gallery.upsert(["a"], rows(1, NEW), space=NEW)
    assert gallery.get(["a"])[0].origin == NEW.fingerprint


def test_metadata_can_be_replaced_without_a_new_version(store, rows):
    gallery = store.gallery(OLD, NEW)
    versions = gallery.upsert(["a"], rows(1, OLD), space=OLD, metadata=[{"n": 1, "t": "x"}])
    gallery.move(["a"], rows(1, NEW), space=NEW, expected_versions=versions, origin=UP)
    gallery.set_metadata(["a", "nobody"], [{"n": 2}, {"n": 3}])
    state = gallery.get(["a", "nobody"])
    assert state[0].metadata == {"n": 2}
    assert (state[0].version, state[0].space, state[0].origin) == (versions[0], NEW, UP)
    assert state[1] is None
    assert gallery.search({NEW: rows(1, NEW)}, 5, where={"n": 2})[NEW].item_ids == (("a",),)
    assert gallery.vectors(["a"], OLD).item_ids == ("a",)


def test_metadata_keeps_its_types(store, rows):
    metadata = {
        "text": "ä \U0001f525 '\\", "whole": 2**62 + 1, "minus": -7, "real": 0.1, "round": 2.0,
        "yes": True, "no": False, "a.b[0] c/d": "key", "empty": "",
    }  # fmt: skip
    gallery = store.gallery(OLD)
    gallery.upsert(["a"], rows(1, OLD), space=OLD, metadata=[metadata])
    read = store.again(gallery).get(["a"])[0].metadata
    assert read == metadata
    assert {key: type(value) for key, value in read.items()} == {
        key: type(value) for key, value in metadata.items()
    }


def test_deleted_items_are_gone_from_every_space(store, rows):
    gallery = store.gallery(OLD, NEW)
    versions = gallery.upsert(["a", "b", "c"], rows(3, OLD), space=OLD)
    gallery.move(["a"], rows(1, NEW), space=NEW, expected_versions=versions[:1])
    assert gallery.delete(["a", "b", "nobody"]) == 2
    assert gallery.delete(["a", "b", "nobody"]) == 0
    assert gallery.get(["a", "b"]) == [None, None]
    assert gallery.vectors(["a", "b"], OLD).item_ids == ()
    assert gallery.vectors(["a", "b"], NEW).item_ids == ()
    assert (len(gallery), gallery.count(OLD), gallery.count(NEW)) == (1, 1, 0)
    hits = gallery.search({OLD: rows(1, OLD), NEW: rows(1, NEW)}, 5)
    assert (hits[OLD].item_ids, hits[NEW].item_ids) == ((("c",),), ((),))


def test_item_ids_may_be_any_text(store, rows):
    names = ["ä b/c", "\U0001f525", "7", "a\nb", "x" * 3000, "'; --", "%s_%d"]
    gallery = store.gallery(OLD)
    gallery.upsert(names, rows(len(names), OLD), space=OLD)
    gallery = store.again(gallery)
    assert [state.item_id for state in gallery.get(names)] == names
    assert set(gallery.scan(OLD).item_ids) == set(names)
    assert gallery.delete(names) == len(names)


def test_empty_calls_do_nothing(store, rows):
    gallery = store.gallery(OLD, NEW)
    nothing = np.empty((0, 6), dtype=np.float32)
    assert gallery.upsert([], nothing, space=OLD).shape == (0,)
    versions = np.empty(0, dtype=np.int64)
    assert gallery.move([], nothing, space=OLD, expected_versions=versions).shape == (0,)
    assert gallery.delete([]) == 0
    assert gallery.get([]) == []
    gallery.set_metadata([], [])
    assert gallery.search({}, 3) == {}
    hits = gallery.search({OLD: nothing}, 3)[OLD]
    assert (hits.item_ids, hits.scores) == ((), ())


def test_scan_lists_every_item_of_a_side_once(store, rows):
    gallery = store.gallery(OLD, NEW)
    names = [f"item{i}" for i in range(25)]
    versions = gallery.upsert(names, rows(25, OLD), space=OLD)
    gallery.move(names[:10], rows(10, NEW), space=NEW, expected_versions=versions[:10])
    gallery.move(
        names[10:13], rows(3, NEW), space=NEW, expected_versions=versions[10:13], origin=UP
    )
    for space, expected in ((OLD, names[13:]), (NEW, names[:13])):
        seen, cursor = {}, None
        for _ in range(30):
            page = gallery.scan(space, after=cursor, limit=4)
            assert len(page.item_ids) == len(page.versions) == len(page.origins) <= 4
            for row in zip(page.item_ids, page.versions, page.origins, strict=True):
                assert row[0] not in seen
                seen[row[0]] = row[1:]
            cursor = page.cursor
            if cursor is None:
                break
        assert sorted(seen) == sorted(expected)
        for name, (version, origin) in seen.items():
            assert version == versions[names.index(name)]
            made_by_transform = name in names[10:13]
            assert origin == (UP if made_by_transform else space.fingerprint)


def test_scan_goes_on_while_the_side_empties(store, rows):
    gallery = store.gallery(OLD, NEW)
    names = [f"item{i}" for i in range(20)]
    gallery.upsert(names, rows(20, OLD), space=OLD)
    seen, cursor = [], None
    while True:
        page = gallery.scan(OLD, after=cursor, limit=6)
        seen += page.item_ids
        gallery.move(
            page.item_ids,
            rows(len(page.item_ids), NEW),
            space=NEW,
            expected_versions=page.versions,
        )
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(names)
    assert (gallery.count(OLD), gallery.count(NEW)) == (0, 20)


def test_the_upkeep_changes_nothing(store, rows):
    gallery = store.gallery(OLD, NEW)
    versions = gallery.upsert(["a", "b", "c"], rows(3, OLD), space=OLD)
    gallery.move(["b"], rows(1, NEW), space=NEW, expected_versions=versions[1:2])
    gallery.delete(["c"])
    queries = {OLD: rows(1, OLD), NEW: rows(1, NEW)}
    before = gallery.search(queries, 5)
    gallery.optimise()
    after = gallery.search(queries, 5)
    assert {s: h.item_ids for s, h in before.items()} == {s: h.item_ids for s, h in after.items()}
    assert gallery.vectors(["a", "b", "c"], OLD).item_ids == ("a", "b")


def test_closing_again_is_harmless(store):
    gallery = store.gallery(OLD)
    with gallery:
        pass
    gallery.close()


def test_a_side_that_takes_no_writes_refuses_them(store, rows):
    gallery = store.gallery(OLD, NEW)
    if not gallery.capabilities.restricts_writes:
        gallery.restrict_writes([NEW])
        assert len(gallery.upsert(["a"], rows(1, OLD), space=OLD)) == 1
        return
    versions = gallery.upsert(["a", "b"], rows(2, OLD), space=OLD)
    gallery.restrict_writes([NEW])
    with pytest.raises(ClosedSideError, match="takes writes"):
        gallery.upsert(["c"], rows(1, OLD), space=OLD)
    assert gallery.move(["a"], rows(1, NEW), space=NEW, expected_versions=versions[:1]).all()
    with pytest.raises(ClosedSideError):
        gallery.move(["a"], rows(1, OLD), space=OLD, expected_versions=versions[:1])
    gallery.upsert(["b"], rows(1, NEW), space=NEW)
    assert gallery.delete(["b"]) == 1
    assert (gallery.count(OLD), gallery.count(NEW)) == (0, 1)
    gallery.restrict_writes([STRANGER])
    gallery.upsert(["c"], rows(1, OLD), space=OLD)
    assert gallery.count(OLD) == 1


def test_a_side_is_open_again_only_if_nobody_restricted_writes_since(store, rows):
    gallery = store.gallery(OLD, NEW)
    if not gallery.capabilities.restricts_writes:
        return
    gallery.restrict_writes([NEW])
    with pytest.raises(ClosedSideError) as early:
        gallery.upsert(["a"], rows(1, OLD), space=OLD)
    gallery.restrict_writes([OLD])
    gallery.restrict_writes([NEW])
    gallery.permit_writes(early.value)
    with pytest.raises(ClosedSideError) as late:
        gallery.upsert(["a"], rows(1, OLD), space=OLD)
    assert late.value.space == OLD
    gallery.permit_writes(late.value)
    gallery.upsert(["a"], rows(1, OLD), space=OLD)
    gallery.upsert(["b"], rows(1, NEW), space=NEW)
    gallery.restrict_writes([NEW])
    with pytest.raises(ClosedSideError):
        gallery.upsert(["a"], rows(1, OLD), space=OLD)
