"""A real Milvus server, where a write is seen a moment later."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from hotfill.stores.milvus import MilvusGallery
from hotfill.types import ModelId
from tests import milvus
from tests.unit.stores.milvus.models import OLD as LITE_OLD
from tests.unit.stores.milvus.test_moving import same_by_id_and_filter

OLD = ModelId("old", "1", 6)
NEW = ModelId("new", "1", 8)
N = 60
NAMES = [f'item {n}\'s "name"' for n in range(N)]

pytestmark = pytest.mark.skipif(
    milvus.MISSING, reason="the package milvus, which has the server, is for Linux on x86-64 only"
)


def rows(seed, model):
    return np.random.default_rng(seed).normal(size=(N, model.dimension)).astype(np.float32)


def test_a_server_is_upgraded_and_reverted_under_searches_that_miss_nothing():
    location, name = milvus.server(), milvus.fresh_name()
    old, new = rows(0, OLD), rows(1, NEW)
    failures, overlapped, done = [], [], threading.Event()
    with MilvusGallery.create(location, OLD, collection=name, exact=True) as gallery:
        gallery.add_space(NEW)
        versions = gallery.upsert(NAMES, old, space=OLD, metadata=[{"n": n} for n in range(N)])
        assert gallery.count(OLD) == N

        def search():
            try:
                while not done.is_set():
                    hits = gallery.search({OLD: old[:1], NEW: new[:1]}, N)
                    there = [set(hits[space].item_ids[0]) for space in (OLD, NEW)]
                    assert there[0] | there[1] == set(NAMES)
                    overlapped.append(all(there))
            except BaseException as error:
                failures.append(error)

        def move(space, vectors):
            for start in range(0, N, 20):
                part = slice(start, start + 20)
                assert gallery.move(
                    NAMES[part], vectors[part], space=space, expected_versions=versions[part]
                ).all()

        searching = threading.Thread(target=search)
        searching.start()
        try:
            for _ in range(20):
                move(NEW, new)
                assert (gallery.count(OLD), gallery.count(NEW)) == (0, N)
                move(OLD, old)
                assert (gallery.count(OLD), gallery.count(NEW)) == (N, 0)
                if sum(overlapped) >= 5 or failures:
                    break
        finally:
            done.set()
            searching.join()
        assert not failures
        assert sum(overlapped) >= 5
        move(NEW, new)
        gallery.delete(NAMES[:1])
        live = gallery.upsert(NAMES[1:2], new[:1], space=NEW, metadata=[{"n": -1}])
        assert not gallery.move(NAMES[:2], old[:2], space=OLD, expected_versions=versions[:2]).any()
    with MilvusGallery.open(location, collection=name, fresh=True) as gallery:
        assert (gallery.count(OLD), gallery.count(NEW)) == (0, N - 1)
        assert gallery.get(NAMES[1:2])[0].version == live[0]
        hits = gallery.search({NEW: new[:1]}, 3, where={"n": [-1, 7]})[NEW]
        assert set(hits.item_ids[0]) == {NAMES[1], NAMES[7]}
        assert gallery.vectors(NAMES[:4], OLD).item_ids == tuple(NAMES[2:4])


def test_control_characters_and_quotes_are_texts_like_others():
    name = milvus.fresh_name()
    with MilvusGallery.create(
        milvus.server(), LITE_OLD, collection=name, exact=True, fresh=True
    ) as gallery:
        same_by_id_and_filter(gallery)
