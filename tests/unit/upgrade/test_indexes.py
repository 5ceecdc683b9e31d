"""Indexes are part of the state, on every store that builds them.

Sides are small here, and so is what each store takes for a large one.
"""

from __future__ import annotations

import time

import pytest

from hotfill.errors import HeldError
from hotfill.upgrade import indexes
from hotfill.upgrade.phases import Phase
from tests.unit.upgrade.small import NEW, OLD, Contents, contents, filled, upgrade

ITEMS = 400


def index_files(folder, monkeypatch):
    pytest.importorskip("faiss")
    from hotfill.stores.index_files import IndexFilesGallery, sides

    monkeypatch.setattr(sides, "_BUILT_FROM", 100)
    return IndexFilesGallery.create(folder / "gallery", OLD, index="hnsw")


def lancedb(folder, monkeypatch):
    pytest.importorskip("lancedb")
    from hotfill.stores.lancedb import LanceDBGallery, table

    monkeypatch.setattr(table, "INDEXED_FROM", 100)
    return LanceDBGallery.create(folder / "gallery", OLD)


def qdrant_edge(folder, monkeypatch):
    pytest.importorskip("qdrant_edge")
    from hotfill.stores.qdrant_edge import QdrantEdgeGallery, live_shard

    monkeypatch.setattr(live_shard, "SMALL_BYTES", 0)
    monkeypatch.setattr(live_shard, "_INDEXED_FROM_BYTES", 100)
    return QdrantEdgeGallery.create(folder / "gallery", OLD)


def postgres(folder, monkeypatch):
    pytest.importorskip("psycopg")
    from hotfill.stores.postgres import PostgresGallery, schema

    places = pytest.importorskip("tests.postgres")
    monkeypatch.setattr(schema, "INDEXED_FROM", 100)
    return PostgresGallery.create(places.server().dsn, OLD, schema=places.fresh_schema())


STORES = [index_files, lancedb, qdrant_edge, postgres]


@pytest.fixture(params=STORES, ids=lambda store: store.__name__)
def gallery(request, tmp_path, monkeypatch):
    """A filled and indexed gallery."""
    with request.param(tmp_path, monkeypatch) as made:
        filled(contents(ITEMS), made)
        made.optimise()
        assert made.indexed(OLD) == 1
        yield made


class Interrupting(Contents):
    """A source that stops the upgrade once a quarter of the items has moved."""

    up = None

    def __call__(self, item_ids):
        gallery = self.up.gallery
        if NEW in gallery.spaces and gallery.count(NEW) > ITEMS // 4:
            self.up.stop()
        return super().__call__(item_ids)


def begun(tmp_path, gallery, **settings):
    return upgrade(tmp_path, gallery=gallery, source=contents(ITEMS), batch_size=8, **settings)


def test_however_many_processes_share_the_work_the_new_side_ends_indexed(tmp_path, gallery):
    source = Interrupting(contents(ITEMS))
    source.up = upgrade(tmp_path, gallery=gallery, source=source, batch_size=8)
    assert source.up.start().phase is Phase.BACKFILLING
    up = begun(tmp_path, gallery)
    assert up.start().phase is Phase.BACKFILLED
    assert gallery.indexed(NEW) >= indexes.ENOUGH
    status = up.status()
    assert status.indexed[str(NEW)] >= indexes.ENOUGH
    assert up.verify().indexed >= indexes.ENOUGH
    assert up.cutover().phase is Phase.CUT_OVER


def test_items_move_while_the_index_of_imputed_vectors_is_built(tmp_path, monkeypatch):
    gallery = index_files(tmp_path, monkeypatch)
    filled(contents(ITEMS), gallery)
    gallery.optimise()
    from hotfill.stores.index_files import gallery as store

    build, counts = store.build_index, []

    def waiting(*given):
        for _ in range(600):
            if gallery.count(NEW, origin=NEW.fingerprint):
                break
            time.sleep(0.05)
        counts.append(gallery.count(NEW, origin=NEW.fingerprint))
        return build(*given)

    monkeypatch.setattr(store, "build_index", waiting)
    up = begun(tmp_path, gallery)
    assert up.start().phase is Phase.BACKFILLED
    assert counts[0] > 0
    assert gallery.indexed(NEW) >= indexes.ENOUGH


def test_an_index_of_vectors_that_have_all_been_replaced_is_not_waited_for(tmp_path, monkeypatch):
    gallery = index_files(tmp_path, monkeypatch)
    filled(contents(ITEMS), gallery)
    gallery.optimise()
    from hotfill.stores.index_files import gallery as store

    build, ends = store.build_index, []

    def endless(folder, space, kind, told):
        if ends:
            return build(folder, space, kind, told)
        ends.append("early")
        try:
            for _ in range(1200):  # a minute, unless somebody gives it up
                told(1)
                time.sleep(0.05)
        except Exception:
            ends.append("given up")
            raise
        return build(folder, space, kind, told)

    monkeypatch.setattr(store, "build_index", endless)
    up = begun(tmp_path, gallery)
    assert up.start().phase is Phase.BACKFILLED
    assert ends == ["early", "given up"]
    assert gallery.indexed(NEW) >= indexes.ENOUGH


def test_the_way_back_ends_with_the_old_side_indexed(tmp_path, gallery):
    up = begun(tmp_path, gallery)
    up.start()
    up.verify()
    up.cutover()
    assert up.rollback().phase is Phase.ROLLED_BACK
    assert gallery.indexed(OLD) >= indexes.ENOUGH


def test_where_nothing_was_indexed_nothing_need_be(tmp_path, monkeypatch):
    gallery = index_files(tmp_path, monkeypatch)
    filled(contents(ITEMS), gallery)
    up = begun(tmp_path, gallery)
    up.start()
    assert (gallery.indexed(OLD), gallery.indexed(NEW)) == (None, 0)
    up.verify()
    up.cutover()


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.__name__)
def test_after_complete_the_status_tells_of_the_index_that_there_is(tmp_path, monkeypatch, store):
    with store(tmp_path, monkeypatch) as gallery:
        filled(contents(ITEMS), gallery)
        up = begun(tmp_path, gallery, optimise=False)
        up.start()
        up.verify()
        up.cutover()
        up.complete()
        assert gallery.indexed(NEW) == 1
        assert up.status().indexed[str(NEW)] == 1


def test_an_index_that_got_lost_holds_the_cutover_until_it_is_built(tmp_path, monkeypatch):
    psycopg = pytest.importorskip("psycopg")
    gallery = postgres(tmp_path, monkeypatch)
    filled(contents(ITEMS), gallery)
    gallery.optimise()
    up = begun(tmp_path, gallery)
    up.start()
    up.verify()
    stamp = gallery._table.stamp
    with psycopg.connect(pytest.importorskip("tests.postgres").server().dsn) as connection:
        connection.execute(f"DROP INDEX {stamp.schema}.{stamp.index(stamp.space(NEW))}")
    assert gallery.indexed(NEW) == 0
    with pytest.raises(HeldError, match=r"indexed_share=0 < 0\.7"):
        up.cutover()
    assert up.verify().indexed == 0
    assert up.status().indexed[str(NEW)] == 0
    up.optimise()
    assert up.status().indexed[str(NEW)] == 1
    assert up.cutover().phase is Phase.CUT_OVER


def test_start_builds_an_index_that_got_lost_after_the_backfill(tmp_path, gallery, monkeypatch):
    # With fewer writes than LanceDB takes to tidy up by itself.
    up = begun(tmp_path, gallery, strategy="merge")
    monkeypatch.setattr("hotfill.upgrade.engine.build_indexes", lambda *given: None)
    up.start()
    assert indexes.lacks_index(gallery, up.journal, NEW)
    monkeypatch.undo()
    up.start()
    assert up.status().phase is Phase.BACKFILLED
    assert not indexes.lacks_index(gallery, up.journal, NEW)


def test_an_upgrade_told_not_to_optimise_is_not_held(tmp_path, gallery):
    up = upgrade(tmp_path, gallery=gallery, source=contents(ITEMS), optimise=False)
    up.start()
    assert up.verify().passed
    assert up.cutover().phase is Phase.CUT_OVER
