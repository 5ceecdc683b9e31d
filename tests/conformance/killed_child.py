"""A process that writes to a gallery until it is killed; each acknowledged step is one line.

Run as: python -m tests.conformance.killed_child STORE FOLDER SEED
"""

import sys
from pathlib import Path

import numpy as np

from hotfill.stores import Gallery
from hotfill.testing.models import NEW, OLD

N_ITEMS, BATCH = 400, 40
NAMES = [f"item{i}" for i in range(N_ITEMS)]
SPACES = {"old": OLD, "new": NEW}


def open_gallery(store: str, folder: Path) -> Gallery:
    """Open what the parent made."""
    if store == "qdrant_edge":
        from hotfill.stores.qdrant_edge import QdrantEdgeGallery

        return QdrantEdgeGallery.open(folder, exact=True)
    if store == "postgres":
        from tests.conformance.conftest import open_postgres

        return open_postgres(folder)
    if store == "qdrant":
        from tests.conformance import qdrant_store

        return qdrant_store.open_gallery(folder)
    if store in ("milvus", "milvus_server"):
        from tests.conformance import milvus_store

        return milvus_store.open_gallery(folder)
    if store in ("redis", "redis_json"):
        from tests.conformance import redis_store

        return redis_store.open_gallery(folder)
    if store in ("chroma", "chroma_server"):
        from tests.conformance import chroma_store

        return chroma_store.open_gallery(folder)
    if store == "coded":
        from tests.conformance.conftest import open_coded

        return open_coded(folder)
    if store == "lancedb":
        from tests.conformance import lancedb_store

        return lancedb_store.open_gallery(folder)
    if store == "index_files":
        from tests.conformance import index_files_store

        return index_files_store.open_gallery(folder)
    raise ValueError(f"no way to open {store!r} in another process is written down here")


def vector_of(item: int, edition: int, space: str) -> np.ndarray:
    """The vector of one edition of an item: anybody can compute it again."""
    random = np.random.default_rng([item, edition, space == "new"])
    vector = random.normal(size=SPACES[space].dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def main(store: str, folder: str, seed: str) -> None:
    """Move batches to and fro, edit and delete items in between, for ever."""
    random = np.random.default_rng(int(seed))
    gallery = open_gallery(store, Path(folder))
    while True:
        start = int(random.integers(N_ITEMS // BATCH)) * BATCH
        there = [
            (int(state.item_id[4:]), state)
            for state in gallery.get(NAMES[start : start + BATCH])
            if state is not None
        ]
        action = random.choice(["move", "move", "move", "edit", "delete"])
        if action == "move":
            space = random.choice(list(SPACES))
            say("begin", "move", start, space)
            vectors = [vector_of(i, state.metadata["edition"], space) for i, state in there]
            gallery.move(
                [state.item_id for _, state in there],
                np.array(vectors).reshape(-1, SPACES[space].dimension),
                space=SPACES[space],
                expected_versions=np.array([s.version for _, s in there], dtype=np.int64),
            )
            say("done", "move", start, space)
        elif action == "edit":
            item, edition = start + int(random.integers(BATCH)), int(random.integers(1, 10**6))
            say("begin", "edit", item, edition)
            gallery.upsert(
                [NAMES[item]],
                vector_of(item, edition, "new")[None],
                space=NEW,
                metadata=[{"edition": edition}],
                kept={OLD: vector_of(item, edition, "old")[None]},
            )
            say("done", "edit", item, edition)
        else:
            item = start + int(random.integers(BATCH))
            say("begin", "delete", item, 0)
            gallery.delete([NAMES[item]])
            say("done", "delete", item, 0)


def say(*words: object) -> None:
    """Tell the parent at once."""
    print(*words, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
