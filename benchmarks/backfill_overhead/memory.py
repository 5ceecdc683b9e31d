"""Upgrade this many items and print by how many megabytes the peak of memory rose."""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

import hotfill
from hotfill import ModelId
from hotfill.stores.base import Capabilities, Found, Gallery, Hits, ItemState, Page

OLD = ModelId("old", "1", 128)
NEW = ModelId("new", "1", 128)


def vectors_of(rows) -> np.ndarray:
    """Vectors that depend on the row only, so that nobody has to keep them."""
    made = np.stack([np.random.default_rng(row).normal(size=128) for row in rows])
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


class ComputedGallery(Gallery):
    """A gallery that computes its items and keeps one byte for each: whether it moved."""

    capabilities = Capabilities(atomic_move=True, snapshot_reads=True, many_processes=False)
    spaces = (OLD, NEW)

    def __init__(self, items: int) -> None:
        self.moved = np.zeros(items, dtype=np.bool_)

    def _add_space(self, model):
        pass

    def _move(self, item_ids, vectors, space, expected_versions, origin):
        self.moved[[int(item_id) for item_id in item_ids]] = True
        return np.ones(len(item_ids), dtype=np.bool_)

    def _get(self, item_ids):
        return [
            ItemState(i, 1, NEW, NEW.fingerprint, {})
            if self.moved[int(i)]
            else ItemState(i, 1, OLD, OLD.fingerprint, {})
            for i in item_ids
        ]

    def _vectors(self, item_ids, space):
        ones = np.ones(len(item_ids), dtype=np.int64)
        return Found(tuple(item_ids), ones, vectors_of([int(i) for i in item_ids]))

    def _scan(self, space, after, limit):
        begin = int(after or 0)
        end = min(begin + limit, len(self.moved))
        rows = begin + np.flatnonzero(self.moved[begin:end] == (space == NEW))
        return Page(
            tuple(f"{row:09}" for row in rows.tolist()),
            np.ones(len(rows), dtype=np.int64),
            (space.fingerprint,) * len(rows),
            str(end) if end < len(self.moved) else None,
        )

    def _count(self, space, origin):
        if origin not in (None, space.fingerprint):
            return 0
        return int(np.count_nonzero(self.moved == (space == NEW)))

    def _search(self, queries, k, where):
        none = np.empty(0, np.float32)
        return {
            space: Hits(tuple(() for _ in rows), tuple(none for _ in rows))
            for space, rows in queries.items()
        }

    def _unused(self, *given, **named):
        raise NotImplementedError("this measurement does not use it")

    _drop_space = _upsert = _set_metadata = _delete = _optimise = _unused

    def _close(self):
        pass


class Embedder:
    """Rows in, vectors out, and time for nothing else."""

    model_id = NEW

    def __call__(self, contents):
        return vectors_of(contents[:1]).repeat(len(contents), axis=0)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    gallery = ComputedGallery(int(sys.argv[1]))
    with (
        tempfile.TemporaryDirectory() as place,
        hotfill.Upgrade(
            gallery,
            old=OLD,
            new=Embedder(),
            source=lambda ids: {item_id: int(item_id) for item_id in ids},
            folder=Path(place),
            batch_size=256,
            fit_items=0,
            strategy="compatible",
            optimise=False,  # a computed gallery has no index
        ) as up,
    ):
        before = peak()
        up.start()
        print(peak() - before)


if __name__ == "__main__":
    main()
