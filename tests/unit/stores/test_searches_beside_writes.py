"""A search waits for no write that waits for the disk, and names what made each vector itself."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from hotfill.errors import ModelMismatchError
from hotfill.types import ModelId
from hotfill.vectors import unit

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


def items():
    """Names, and vectors of both models."""
    random = np.random.default_rng(0)
    old, new = (random.normal(size=(N, 8)).astype(np.float32) for _ in range(2))
    return [f"item{i:02}" for i in range(N)], old, new


def beside_a_writer(gallery, look):
    """Look while somebody holds the store, as a move does until its batch is on the disk."""
    seen = []
    with gallery._lock:
        thread = threading.Thread(target=lambda: seen.append(look()))
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
    return seen[0]


@pytest.mark.parametrize("make", [index_files, qdrant_edge, lancedb])
def test_origins_come_with_the_hits_while_a_writer_holds_the_store(tmp_path, make):
    names, old, new = items()
    with make(tmp_path / "gallery") as gallery:
        versions = gallery.upsert(names, old, space=OLD)
        gallery.add_space(NEW)
        gallery.move(names, new, space=NEW, expected_versions=versions, origin=MADE_BY)
        gallery.move(names[:20], new[:20], space=NEW, expected_versions=versions[:20])
        hits = beside_a_writer(
            gallery, lambda: gallery.search({NEW: new[:3]}, N, origins=True)[NEW]
        )
        made_by = {name: NEW.fingerprint if name < "item20" else MADE_BY for name in names}
        for ids, origins in zip(hits.item_ids, hits.origins, strict=True):
            assert dict(zip(ids, origins, strict=True)) == made_by


@pytest.mark.parametrize("make", [index_files, qdrant_edge, lancedb])
@pytest.mark.parametrize("origin", [None, MADE_BY], ids=["of the side", "of an origin"])
def test_what_a_ranking_reads_waits_for_no_writer(tmp_path, make, origin):
    """Vectors of hits of the other side, states, and how many items each side has."""
    names, old, new = items()
    with make(tmp_path / "gallery") as gallery:
        versions = gallery.upsert(names, old, space=OLD)
        gallery.add_space(NEW)
        gallery.move(names[:9], new[:9], space=NEW, expected_versions=versions[:9], origin=MADE_BY)

        def look():
            counts = [gallery.count(OLD), gallery.count(NEW, origin=origin)]
            return gallery.vectors(names, OLD), gallery.get(names), counts

        found, states, counts = beside_a_writer(gallery, look)
        assert list(found.item_ids) == names
        np.testing.assert_allclose(found.vectors, unit(old), atol=1e-6)
        assert [state.version for state in states] == found.versions.tolist()
        assert [state.space for state in states] == [NEW] * 9 + [OLD] * (N - 9)
        assert counts == [N - 9, 9]


def test_a_reader_of_index_files_knows_the_spaces_of_the_moment(tmp_path):
    """Each has a connection of its own, which hears of a space when it looks."""
    with index_files(tmp_path / "gallery") as gallery:
        vectors = np.eye(3, 8, dtype=np.float32)
        versions = gallery.upsert(["a", "b", "c"], vectors, space=OLD)
        assert gallery.vectors(["a"], OLD).item_ids == ("a",)
        gallery.add_space(NEW)
        gallery.move(["a", "b", "c"], vectors, space=NEW, expected_versions=versions)
        assert gallery.vectors(["b"], NEW).item_ids == ("b",)
        gallery.drop_space(OLD)
        assert [state.space for state in gallery.get(["a", "c"])] == [NEW, NEW]
        with pytest.raises(ModelMismatchError):
            gallery.vectors(["a"], OLD)
        gallery.add_space(OLD)
        assert gallery.vectors(["a"], OLD).item_ids == ()
