"""Other people's collections: whether one can be taken over, and what an operator should know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import HotfillError, StoreError
from hotfill.stores.chroma.items import ORIGIN, STEP, VERSION
from hotfill.stores.chroma.stamp import metrics_of
from hotfill.stores.layouts import DOCUMENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chromadb.api.models.Collection import Collection
    from numpy.typing import NDArray

    from hotfill.stores.chroma.client import ChromaClient
    from hotfill.stores.chroma.items import ChromaItems
    from hotfill.stores.chroma.stamp import ChromaSpace
    from hotfill.types import ModelId

_LOOKED_AT = 1000


def metric_of(collection: Collection) -> str:
    """Return by what a collection compares: "ip", "cosine" or "l2"."""
    return str((collection.configuration_json.get("hnsw") or {}).get("space"))


def look(client: ChromaClient, name: str, model: ModelId) -> Collection:
    """Find the collection to take over. Raises StoreError naming what does not fit."""
    there = client.named(name)
    if there is None:
        listed = ", ".join(repr(one) for one in sorted(client.names())[:10]) or "none"
        raise StoreError(f"there is no collection {name!r} in {client.location}; there: {listed}")
    if metric_of(there) not in metrics_of(model):
        raise StoreError(
            f"collection {name!r} compares by {metric_of(there)!r}; vectors of {model} are "
            f"compared by {model.metric} ({' or '.join(metrics_of(model))})"
        )
    first = _first(client, there, 1)
    if len(first) and first.shape[1] != model.dimension:
        raise StoreError(
            f"collection {name!r} holds vectors with {first.shape[1]} numbers, those of {model} "
            f"have {model.dimension}"
        )
    return there


def first_keys(client: ChromaClient, collection: Collection) -> set[str]:
    """Return the keys that some rows have, with `DOCUMENT` where one has a document."""
    found = client.read(
        "read rows", lambda _: collection.get(limit=10, include=["metadatas", "documents"])
    )
    keys = {key for metadata in found["metadatas"] or () for key in metadata or ()}
    has_document = any(each is not None for each in found["documents"] or ())
    return keys | {DOCUMENT} if has_document else keys


def settings_like(
    first: Collection | None, spaces: Sequence[ChromaSpace], model: ModelId, ef: int | None
) -> dict[str, Any]:
    """Return the settings of the graph for a new collection, which takes the name of the first.

    Programs that read the first by themselves go on with the same metric, where it is one that the
    model allows.
    """
    allowed = metrics_of(model)
    settings: dict[str, Any] = {"space": allowed[0]}
    if first is not None and spaces[0].adopted:
        theirs = dict(first.configuration_json.get("hnsw") or {})
        settings |= {k: theirs[k] for k in ("ef_construction", "ef_search", "max_neighbors")}
        settings["space"] = next((m for m in allowed if m == spaces[0].metric), allowed[0])
    if ef is not None:
        settings["ef_search"] = ef
    return settings


def metadata_like(first: Collection | None, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return what its users wrote of a collection, for the one that takes its name."""
    theirs = dict((first.metadata if first is not None else None) or {})
    if "hnsw:space" in theirs:  # where older programs look for the metric
        theirs["hnsw:space"] = settings["space"]
    return theirs or None


def rehearse(
    client: ChromaClient, gallery: str, items: ChromaItems, model: ModelId | None
) -> list[str]:
    """Make a collection as `start` does, write a row as moves do, and drop it again."""
    name = f"{gallery}.hotfill.rehearsal"
    failed = []
    try:
        for space in items.stamp.spaces:
            items.collection(space)
        client.drop(name)  # of one that was killed
        made = client.create(name)
        if made is None:
            raise StoreError(f"another process rehearses, too: {name!r} is there")
        dimension = (model or items.stamp.spaces[-1].model).dimension
        row = np.ones((1, dimension), dtype=np.float32)
        ours = {VERSION: 2**62, STEP: 1, ORIGIN: "rehearsal"}
        client.write(made, "upsert", ["a"], vectors=row, metadatas=[ours], documents=["text"])
        client.write(made, "update", ["a"], metadatas=[{**ours, ORIGIN: None, "list": ["a"]}])
        read = [found["metadatas"] for found in client.rows(made, ["a"], ["metadatas"])]
        if read != [{VERSION: 2**62, STEP: 1, "list": ["a"]}]:
            failed.append(
                "this Chroma does not give back what was written to it (whole numbers of 64 bits, "
                f"lists, removed keys): wrote a row, read {read}; hotfill was tested with 1.5"
            )
        client.drop(name)
    except HotfillError as error:
        failed.append(str(error))
    return failed


def remarks(client: ChromaClient, items: ChromaItems) -> list[str]:
    """Look at some vectors of an adopted collection: zeros, and lengths that nobody promised."""
    said = []
    for space in items.stamp.spaces[:1]:
        if not space.adopted:
            continue
        there = items.collection(space)
        vectors = _first(client, there, _LOOKED_AT)
        norms = np.linalg.norm(vectors, axis=1) if len(vectors) else np.empty(0)
        zeros, other = int((norms == 0).sum()), int((abs(norms[norms > 0] - 1) > 0.01).sum())
        if zeros and space.model.metric == "cosine":
            said.append(
                f"{zeros:,} of {len(norms):,} vectors looked at are all zero: they have no "
                "direction and are left out of fitting; the upgrade embeds them like others"
            )
        if other and space.model.normalised:
            said.append(
                f"{other:,} of {len(norms):,} vectors looked at are not of unit length, which "
                f"{space.model} promises: say normalised = false, or name the model that made them"
            )
    return said


def _first(client: ChromaClient, collection: Collection, n: int) -> NDArray[np.float32]:
    """Read the vectors of the first rows."""
    found = client.read("read rows", lambda _: collection.get(limit=n, include=["embeddings"]))
    embeddings = found["embeddings"]
    return np.asarray([] if embeddings is None else embeddings, dtype=np.float32)
