"""What was acknowledged is there when the gallery is opened again."""

import numpy as np

from hotfill.testing.models import NEW, NEWEST, OLD, UP


def test_everything_is_there_again(persistent, rows):
    gallery = persistent.gallery(OLD, NEW)
    old, new = rows(4, OLD), rows(2, NEW)
    names = ["a", "b", "c", "d"]
    versions = gallery.upsert(names, old, space=OLD, metadata=[{"n": i} for i in range(4)])
    gallery.move(["a"], new[:1], space=NEW, expected_versions=versions[:1])
    gallery.move(["b"], new[1:], space=NEW, expected_versions=versions[1:2], origin=UP)
    gallery.delete(["d"])
    queries = {OLD: rows(2, OLD), NEW: rows(2, NEW)}
    states, hits = gallery.get(names), gallery.search(queries, 5)
    gallery = persistent.again(gallery)
    assert gallery.spaces == (OLD, NEW)
    assert gallery.get(names) == states
    assert states[0].origin == NEW.fingerprint
    assert states[1].origin == UP
    assert (gallery.count(OLD), gallery.count(NEW), gallery.count(NEW, origin=UP)) == (1, 2, 1)
    for space, again in gallery.search(queries, 5).items():
        assert again.item_ids == hits[space].item_ids
        np.testing.assert_array_equal(np.array(again.scores), np.array(hits[space].scores))
    np.testing.assert_allclose(gallery.vectors(["a", "b"], OLD).vectors, old[:2], atol=1e-6)
    np.testing.assert_array_equal(gallery.vectors(["a", "b"], NEW).vectors, new)


def test_an_upgrade_goes_on_after_reopening(persistent, rows):
    gallery = persistent.gallery(OLD)
    names = [f"item{i}" for i in range(30)]
    versions = gallery.upsert(names, rows(30, OLD), space=OLD)
    gallery.add_space(NEW)
    for start in range(0, 30, 10):
        gallery = persistent.again(gallery)
        part = slice(start, start + 10)
        assert gallery.move(
            names[part], rows(10, NEW), space=NEW, expected_versions=versions[part]
        ).all()
    gallery = persistent.again(gallery)
    assert (gallery.count(OLD), gallery.count(NEW)) == (0, 30)
    gallery.drop_space(OLD)
    gallery.add_space(NEWEST)
    assert persistent.again(gallery).spaces == (NEW, NEWEST)


def test_a_cursor_is_still_good_after_reopening(persistent, rows):
    gallery = persistent.gallery(OLD)
    names = [f"item{i}" for i in range(10)]
    gallery.upsert(names, rows(10, OLD), space=OLD)
    first = gallery.scan(OLD, limit=4)
    rest = persistent.again(gallery).scan(OLD, after=first.cursor, limit=100)
    assert sorted(first.item_ids + rest.item_ids) == sorted(names)


def test_records_of_origins_are_there_again_and_travel_with_the_store(persistent):
    gallery = persistent.gallery(OLD)
    if gallery.origins is None:
        return  # then they are kept beside the upgrade's folder
    assert dict(gallery.origins) == {}
    gallery.origins["one"] = b"\x00first"
    gallery.origins["one"] = b"\x00second"
    gallery.origins["two"] = bytes(range(256)) * 5000
    gallery = persistent.again(gallery)
    assert dict(gallery.origins) == {"one": b"\x00second", "two": bytes(range(256)) * 5000}
    del gallery.origins["one"]
    assert list(gallery.origins) == ["two"]
    assert "one" not in gallery.origins
