"""Moves that are seen late, cut short, or failed half-way; with Milvus Lite in a server's place."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from hotfill.errors import InputError, StoreError
from hotfill.stores.milvus import MilvusGallery, claim, items
from hotfill.stores.milvus.items import Searches
from hotfill.stores.milvus.server import Server
from tests.unit.stores.milvus.models import NAMES, NEW, NEW_ROWS, OLD, ROWS

QUERIES = {OLD: ROWS[:1], NEW: NEW_ROWS[:1]}


def opened(location, **options):
    """A gallery that takes Milvus Lite for a server: what it wrote, it settles later."""
    gallery = MilvusGallery.create(location, OLD, exact=True, **options)
    gallery.add_space(NEW)
    gallery._server.lite = False
    return gallery


def close(gallery):
    gallery._server.lite = True  # so that the engine is let go
    gallery.close()


def found(gallery):
    return {space: sorted(hits.item_ids[0]) for space, hits in gallery.search(QUERIES, 9).items()}


def test_a_moved_item_stays_on_the_old_side_until_it_is_seen_on_the_new_one(location):
    gallery = opened(location)
    versions = gallery.upsert(NAMES, ROWS, space=OLD)
    gallery.move(["a", "b"], NEW_ROWS[:2], space=NEW, expected_versions=versions[:2])
    assert found(gallery) == {OLD: NAMES, NEW: ["a", "b"]}
    assert (gallery.count(OLD), gallery.count(NEW)) == (2, 2)  # this settles
    assert found(gallery) == {OLD: ["c", "d"], NEW: ["a", "b"]}
    close(gallery)


def test_a_fresh_gallery_searches_what_it_wrote(location):
    gallery = opened(location, fresh=True)
    versions = gallery.upsert(NAMES, ROWS, space=OLD)
    gallery.move(["a", "b"], NEW_ROWS[:2], space=NEW, expected_versions=versions[:2])
    assert found(gallery) == {OLD: ["c", "d"], NEW: ["a", "b"]}
    close(gallery)


def test_an_item_that_is_not_settled_can_be_read_and_written(location):
    gallery = opened(location)
    versions = gallery.upsert(NAMES, ROWS, space=OLD)
    gallery.move(["a", "b"], NEW_ROWS[:2], space=NEW, expected_versions=versions[:2])
    back = gallery.vectors(["a"], OLD)
    assert gallery.move(["a"], back.vectors, space=OLD, expected_versions=back.versions).all()
    gallery.upsert(["b"], NEW_ROWS[:1], space=NEW)
    assert [state.space for state in gallery.get(NAMES)] == [OLD, NEW, OLD, OLD]
    assert gallery.delete(["a", "b"]) == 2
    gallery.upsert(["a"], ROWS[:1], space=OLD)
    assert [s and s.space for s in gallery.get(NAMES)] == [OLD, None, OLD, OLD]
    assert (gallery.count(OLD), gallery.count(NEW)) == (3, 0)
    close(gallery)


def test_many_pending_items_are_settled_without_being_asked(location, monkeypatch):
    monkeypatch.setattr(items, "_MOST_PENDING", 2)
    gallery = opened(location)
    versions = gallery.upsert(NAMES, ROWS, space=OLD)
    gallery.move(NAMES[:3], NEW_ROWS[:3], space=NEW, expected_versions=versions[:3])
    assert found(gallery) == {OLD: ["d"], NEW: ["a", "b", "c"]}
    close(gallery)


def test_closing_settles(location):
    gallery = opened(location)
    versions = gallery.upsert(NAMES, ROWS, space=OLD)
    gallery.move(NAMES, NEW_ROWS, space=NEW, expected_versions=versions)
    close(gallery)
    with MilvusGallery.open(location) as again:
        assert not again._claim.torn
        assert found(again) == {OLD: [], NEW: NAMES}


@pytest.mark.parametrize("back", [False, True])
def test_a_crash_before_the_old_rows_are_removed_undoes_no_move(location, monkeypatch, back):
    gallery = opened(location)
    versions = gallery.upsert(NAMES, ROWS, space=OLD)
    if back:
        gallery.move(NAMES, NEW_ROWS, space=NEW, expected_versions=versions)
        assert gallery.count(NEW) == 4
    space, rows = (OLD, ROWS) if back else (NEW, NEW_ROWS)
    gallery.move(NAMES[:3], rows[:3], space=space, expected_versions=versions[:3])
    gallery._claim._ended.set()
    gallery._server.lite = True
    gallery._server.close()  # all that this process could still have done is not done
    monkeypatch.setattr(claim, "_gone", lambda holder, beat: True)
    with MilvusGallery.open(location) as again:
        there, other = (OLD, NEW) if back else (NEW, OLD)
        assert found(again) == {there: NAMES[:3], other: ["d"]}
        assert (again.count(there), again.count(other)) == (3, 1)
        kept = again.vectors(NAMES[:3], other)
        assert kept.item_ids == ("a", "b", "c")
        assert (kept.versions == versions[:3]).all()


def test_a_write_that_failed_half_way_loses_and_doubles_nothing(location, monkeypatch):
    with MilvusGallery.create(location, OLD, exact=True) as gallery:
        gallery.add_space(NEW)
        versions = gallery.upsert(NAMES, ROWS, space=OLD)
        write = Server.write

        def half(self, space, rows):
            write(self, space, rows[:2])
            raise StoreError("the connection failed", retryable=True)

        with monkeypatch.context() as patched:
            patched.setattr(Server, "write", half)
            with pytest.raises(StoreError, match="connection failed"):
                gallery.move(NAMES, NEW_ROWS, space=NEW, expected_versions=versions)
        assert len(gallery) == 4
        assert found(gallery) == {OLD: ["c", "d"], NEW: ["a", "b"]}
        assert gallery.move(NAMES, NEW_ROWS, space=NEW, expected_versions=versions).all()
        assert found(gallery) == {OLD: [], NEW: NAMES}


def test_a_removal_waits_for_the_searches_that_run_and_for_no_later_ones():
    searches, order = Searches(), []
    started, go = threading.Event(), threading.Event()

    def search():
        with searches.one():
            started.set()
            go.wait(10)
            order.append("searched")

    def remove():
        searches.let_end()
        order.append("removed")

    first = threading.Thread(target=search)
    first.start()
    started.wait(10)
    removal = threading.Thread(target=remove)
    removal.start()
    removal.join(0.05)
    assert order == []
    go.set()
    for thread in (first, removal):
        thread.join(10)
    assert order == ["searched", "removed"]
    with searches.one():
        pass
    searches.let_end()  # nobody searches: at once


def test_what_milvus_cannot_do_is_refused_early(location):
    with MilvusGallery.create(location, OLD) as gallery:
        with pytest.raises(InputError, match="at most 16384 items"):
            gallery.search({OLD: ROWS[:1]}, 20_000)
        with pytest.raises(InputError, match="65535 bytes"):
            gallery.upsert(["ä" * 40_000], ROWS[:1], space=OLD)
        assert gallery.get(["ä" * 40_000]) == [None]
        assert not gallery.capabilities.many_processes
        assert gallery.upsert([], np.empty((0, 3)), space=OLD).shape == (0,)


ODD = [f"a{chr(code)}b" for code in (*range(1, 32), 0x7F, 0x85, 0x2028)] + ["'", '"', "\\", "\\n"]


def same_by_id_and_filter(gallery):
    """Every odd text is found as an id and as a value, and no other is."""
    vectors = np.ones((len(ODD), OLD.dimension))
    gallery.upsert(ODD, vectors, space=OLD, metadata=[{"t": text} for text in ODD])
    assert [state.item_id for state in gallery.get(ODD)] == ODD
    for text in ODD:
        hits = gallery.search({OLD: vectors[:1]}, 50, where={"t": text})[OLD]
        assert hits.item_ids == ((text,),)
    assert gallery.delete(ODD[:1]) == 1
    assert set(gallery.scan(OLD).item_ids) == set(ODD[1:])


def test_control_characters_and_quotes_are_texts_like_others(location):
    with MilvusGallery.create(location, OLD, exact=True) as gallery:
        same_by_id_and_filter(gallery)
