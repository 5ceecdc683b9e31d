"""A search waits for no write that waits for the disk, and names what made each vector itself."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from hotfill.types import ModelId

OLD, NEW = ModelId("old", "1", 8), ModelId("new", "1", 8)
MADE_BY = "feedc0ffee42"
N = 60


def index_files(folder):
    pytest.importorskip("faiss")
    from hotfill.stores.index_files import IndexFilesGallery

    return IndexFilesGallery.create(folder, OLD)


def qdrant_edge(folder):
    pytest.importorskip("qdrant_edge")
    from hotfill.stores.qdrant_edge import QdrantEdgeGallery

    return QdrantEdgeGallery.create(folder, OLD, exact=True)


def lancedb(folder):
    pytest.importorskip("lancedb")
    from hotfill.stores.lancedb import LanceDBGallery

    return LanceDBGallery.create(folder, OLD, exact=True)


@pytest.mark.parametrize("make", [index_files, qdrant_edge, lancedb])
def test_origins_come_with_the_hits_while_a_writer_holds_the_store(tmp_path, make):
    random = np.random.default_rng(0)
    names = [f"item{i:02}" for i in range(N)]
    old, new = (random.normal(size=(N, 8)).astype(np.float32) for _ in range(2))
    with make(tmp_path / "gallery") as gallery:
        versions = gallery.upsert(names, old, space=OLD)
        gallery.add_space(NEW)
        gallery.move(names, new, space=NEW, expected_versions=versions, origin=MADE_BY)
        gallery.move(names[:20], new[:20], space=NEW, expected_versions=versions[:20])
        found = []

        def search():
            found.append(gallery.search({NEW: new[:3]}, N, origins=True)[NEW])

        with gallery._lock:  # as a move does until its batch is on the disk
            thread = threading.Thread(target=search)
            thread.start()
            thread.join(30)
            assert not thread.is_alive()
        [hits] = found
        made_by = {name: NEW.fingerprint if name < "item20" else MADE_BY for name in names}
        for ids, origins in zip(hits.item_ids, hits.origins, strict=True):
            assert dict(zip(ids, origins, strict=True)) == made_by
