"""A new model that is worth nothing is held early by the gate, and an abort loses nothing.

Real pictures (scikit-learn's digits). The old model sees 16 principal components, a good new model
all 64 pixels; a bad one answers with vectors that have nothing to do with the picture, as a model
does whose weights were not loaded.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hotfill.stores.memory import MemoryGallery
from hotfill.types import ModelId
from hotfill.upgrade import guard as watch
from hotfill.upgrade import pace
from hotfill.upgrade.guard import quality_curve
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.upgrade import Upgrade

OLD = ModelId("digits-pca", "1", 16)
NEW = ModelId("digits-pixels", "1", 64)
GATE = {"agreement": 0.7, "old_overlap": 0.3, "flips": 0.05}
QUERIES, ITEMS = 40, 700


class Model:
    def __init__(self, model_id, vectors):
        self.model_id, self.vectors = model_id, vectors

    def __call__(self, contents):
        return self.vectors(np.asarray(contents, np.float32)).astype(np.float32)


class Pictures(dict):
    def __call__(self, item_ids):
        return {item_id: self[item_id] for item_id in item_ids if item_id in self}


def noise(rows):
    made = []
    for row in rows:
        digest = hashlib.blake2b(row.tobytes(), digest_size=8).digest()
        made.append(np.random.default_rng(int.from_bytes(digest, "little")).normal(size=64))
    return np.stack(made)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(watch, "EVERY_SHARE", 0.1)
    monkeypatch.setattr(watch, "_LEAST_REST", 0)
    pictures, labels = (part[: QUERIES + ITEMS] for part in load_digits(return_X_y=True))
    mean = pictures.mean(axis=0)
    axes = np.linalg.svd(pictures - mean, full_matrices=False)[2][:16]
    old = Model(OLD, lambda rows: (rows - mean) @ axes.T)
    names = [f"digit-{i:04}" for i in range(len(pictures))]
    source = Pictures(zip(names[QUERIES:], pictures[QUERIES:], strict=True))
    of_label = {
        label: [name for name, one in zip(names, labels, strict=True) if one == label][10:]
        for label in range(10)
    }
    lines = [
        {
            "content": pictures[i].tolist(),
            "relevant": [n for n in of_label[labels[i]] if n in source],
        }
        for i in range(QUERIES)
    ]
    path = tmp_path / "canaries.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    gallery = MemoryGallery(OLD)
    gallery.upsert(list(source), old(list(source.values())), space=OLD)
    return gallery, source, old, path


def upgrade(folder, world, vectors):
    gallery, source, old, path = world
    return Upgrade(
        gallery,
        old=old,
        new=Model(NEW, vectors),
        source=source,
        folder=folder,
        batch_size=16,
        fit_items=300,
        canary_queries=str(path),
        canary_k=5,
        gate=GATE,
        allow_below_old=True,
    )


def test_a_good_model_passes_the_gate(tmp_path, world):
    up = upgrade(tmp_path, world, lambda rows: rows)
    assert up.start().phase is Phase.BACKFILLED
    curve = quality_curve(up.journal)
    assert len(curve) == 9
    assert all(point["flips"] <= 0.05 for point in curve)
    assert all(point["old_overlap"] >= 0.3 for point in curve)
    measured = [point["agreement"] for point in curve if point["agreement"] is not None]
    assert len(measured) == 8
    assert min(measured) >= 0.7
    up.close()


def test_a_bad_model_is_held_before_anything_moved_and_an_abort_brings_the_old_gallery_back(
    tmp_path, world
):
    gallery, source, _, _ = world
    before = gallery.vectors(list(source), OLD).vectors
    up = upgrade(tmp_path, world, noise)
    queries = [source["digit-0500"], source["digit-0700"]]
    found_before = [found.hits for found in up.search(queries, 10)]
    up.start(background=True)
    while len([hold for hold in up.status().holds if hold.kind == "gate"]) < 2:
        assert up.status().phase is not Phase.BACKFILLED
    held = {hold.about: hold for hold in up.status().holds}
    assert set(held) == {"flips", "old_overlap"}
    assert held["flips"].measured > 10 * held["flips"].required
    assert gallery.count(NEW) == 0, "it was held before the first batch"

    assert up.abort().phase is Phase.ABORTED
    up.wait(60)
    assert gallery.spaces == (OLD,)
    np.testing.assert_array_equal(gallery.vectors(list(source), OLD).vectors, before)
    assert [found.hits for found in up.search(queries, 10)] == found_before
    up.close()
