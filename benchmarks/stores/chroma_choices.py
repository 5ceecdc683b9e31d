"""What decision 8 rests on: filters and graphs of Chroma.

Run as: python -m benchmarks.stores.chroma_choices

Prints one JSON line for each choice: rows written a second, and milliseconds of a search.
"""

from __future__ import annotations

import base64
import json
import tempfile
import time

import chromadb
import numpy as np

ROWS, WIDTH, BATCH = 10_000, 768, 500


def main() -> None:
    vectors = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder, chromadb.PersistentClient(folder) as client:
        usual, rate = written(client, "usual", {"space": "ip"}, vectors)
        told(choice="a usual graph", rows_per_second=rate)
        told(choice="a search", milliseconds=searched(usual, vectors, None))
        passes = {"left": {"$ne": True}}
        told(
            choice="a search that leaves marked rows out",
            milliseconds=searched(usual, vectors, passes),
        )
        cheap = {"space": "l2", "max_neighbors": 2, "ef_construction": 2}
        told(choice="next to no graph", rows_per_second=written(client, "cheap", cheap, vectors)[1])
        told(choice="text in metadata", rows_per_second=written(client, "text", {}, vectors)[1])


def written(client, name, hnsw, vectors):
    """Make a collection and fill it; without settings the vectors are texts in its metadata."""
    made = client.create_collection(
        name, configuration={"hnsw": hnsw or {"space": "l2"}}, embedding_function=None
    )
    began = time.monotonic()
    for start in range(0, ROWS, BATCH):
        part = vectors[start : start + BATCH]
        texts = [{"kept": base64.b64encode(row.tobytes()).decode()} for row in part]
        made.upsert(
            [str(start + i) for i in range(len(part))],
            embeddings=part if hnsw else np.zeros((len(part), 1), dtype=np.float32),
            metadatas=[{"n": start + i} for i in range(len(part))] if hnsw else texts,
        )
    return made, round(ROWS / (time.monotonic() - began))


def searched(collection, vectors, where, n=20):
    """Return the middle of some times."""
    times = []
    for i in range(n):
        began = time.monotonic()
        collection.query(vectors[i : i + 1] + 0.1, n_results=10, where=where, include=["distances"])
        times.append(1000 * (time.monotonic() - began))
    return round(float(np.median(times)), 1)


def told(**line) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
