"""Adopted collections with vectors of zeros and items without any: a whole upgrade, there and back.

Blank texts were once stored as zeros. These items are embedded like others.
"""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.upgrade.phases import Phase
from tests.unit.upgrade.small import NEW, OLD, Projection, assert_reembedded, contents, upgrade

N = 120


def rows(source):
    """The old model's vectors, but zeros for some items and None for others."""
    vectors = Projection(OLD)(list(source.values())).tolist()
    return [
        [0.0] * 4 if n % 40 == 3 else None if n % 40 == 5 else row for n, row in enumerate(vectors)
    ]


def qdrant(folder, source):
    client = pytest.importorskip("qdrant_client")
    from hotfill.stores.qdrant import QdrantGallery

    models = client.models
    theirs = client.QdrantClient(path=str(folder))
    params = {"text": models.VectorParams(size=4, distance=models.Distance.COSINE)}
    theirs.create_collection("texts", vectors_config=params)
    theirs.upsert(
        "texts",
        [
            models.PointStruct(id=int(name), vector={} if row is None else {"text": row})
            for name, row in zip(source, rows(source), strict=True)
        ],
    )
    theirs.close()
    return QdrantGallery.adopt(str(folder), OLD, collection="texts", vector="text")


def lance(folder, source):
    lancedb, pa = pytest.importorskip("lancedb"), pytest.importorskip("pyarrow")
    from hotfill.stores.lancedb import LanceDBGallery

    kept = {name: row for name, row in zip(source, rows(source), strict=True) if row is not None}
    vectors = pa.array(list(kept.values()), pa.list_(pa.float32(), 4))
    table = pa.table({"id": list(kept), "vector": vectors})
    for name in set(source) - set(kept):  # here a row without a vector is no item
        del source[name]
    lancedb.connect(str(folder)).create_table("items", table)
    return LanceDBGallery.adopt(folder, OLD, exact=True)


@pytest.mark.parametrize("adopt", [qdrant, lance])
def test_an_upgrade_there_and_back_goes_round_stored_zeros(tmp_path, adopt):
    source = contents(N)
    for number, name in enumerate(list(source)):  # Qdrant calls its points by numbers
        source[f"{number}"] = source.pop(name)
    with adopt(tmp_path / "store", source) as gallery:
        up = upgrade(
            tmp_path / "upgrade", gallery=gallery, source=source, old_embedder=Projection(OLD)
        )
        assert up.start().phase is Phase.BACKFILLED
        assert_reembedded(gallery, source)
        assert up.verify().passed
        assert up.cutover().phase is Phase.CUT_OVER
        assert up.rollback().phase is Phase.ROLLED_BACK
        assert gallery.count(OLD) == len(source)
        found = gallery.vectors(list(source), OLD)
        assert set(found.item_ids) == set(source)  # the old model embedded what had no vector
        direct = Projection(OLD)([source[name] for name in found.item_ids])
        np.testing.assert_allclose(found.vectors, direct, atol=1e-5)
        assert NEW not in gallery.spaces
