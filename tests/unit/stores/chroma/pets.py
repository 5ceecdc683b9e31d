"""A collection of somebody else: documents, lists, addresses, private keys, any length."""

from __future__ import annotations

import chromadb
import numpy as np

from hotfill.types import ModelId

OLD = ModelId("old", "1", 4)
NEW = ModelId("new", "1", 3)
NAMES = [f"pet {n}" for n in range(12)]
LENGTHS = np.linspace(0.5, 3, len(NAMES), dtype=np.float32)


def rows(seed, model, n=12):
    """Vectors of unit length."""
    made = np.random.default_rng(seed).normal(size=(n, model.dimension)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def make(client, name="pets", space="cosine"):
    """Make the collection as its users do."""
    collection = client.create_collection(
        name,
        metadata={"owner": "ann", "hnsw:space": space},
        configuration={"hnsw": {"space": space, "ef_search": 321}},
        embedding_function=None,
    )
    collection.add(
        ids=NAMES,
        embeddings=rows(0, OLD) * LENGTHS[:, None],
        documents=[f"text {n}" if n % 3 else None for n in range(len(NAMES))],
        uris=[None if n % 4 else f"file:///{n}" for n in range(len(NAMES))],
        metadatas=[
            {"n": n, "even": n % 2 == 0, "tags": ["a", f"t{n}"], "_private": n / 8, "x": "x"}
            if n
            else None
            for n in range(len(NAMES))
        ],
    )
    return collection


def content(client, name="pets"):
    """All that stands in a collection by its users, by id, and what is said of it."""
    collection = client.get_collection(name, embedding_function=None)
    found = collection.get(include=["embeddings", "documents", "metadatas", "uris"])
    by_id = {
        item_id: (
            {k: v for k, v in (metadata or {}).items() if not k.startswith("_hotfill_")},
            document,
            uri,
            np.asarray(vector, dtype=np.float32).tolist(),
        )
        for item_id, metadata, document, uri, vector in zip(
            found["ids"],
            found["metadatas"],
            found["documents"],
            found["uris"],
            found["embeddings"],
            strict=True,
        )
    }
    return by_id, collection.metadata, collection.configuration_json["hnsw"]


def open_client(folder):
    return chromadb.PersistentClient(folder)
