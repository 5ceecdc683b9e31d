"""Draw items evenly from a gallery, and embed them by both models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.upgrade.backfill import tried
from hotfill.upgrade.narrowing import make_vectors, narrowed, no_item_at_fault
from hotfill.upgrade.order import pages_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Gallery
    from hotfill.types import Embedder, ModelId, Source, Vectors

_ALL_OF_MANY = 20  # failures without one success: then not the items are at fault


def sample_ids(gallery: Gallery, spaces: Sequence[ModelId], size: int, seed: int) -> list[str]:
    """Draw up to `size` items evenly from some sides, in one walk (reservoir sampling)."""
    rng = np.random.default_rng(seed)
    sample: list[str] = []
    seen = 0
    for page in (page for space in spaces for page in pages_of(gallery, space)):
        for item_id in page.item_ids:
            seen += 1
            if len(sample) < size:
                sample.append(item_id)
            elif (place := int(rng.integers(seen))) < size:
                sample[place] = item_id
    return sample


def paired_vectors(
    gallery: Gallery,
    item_ids: list[str],
    old_model: ModelId,
    source: Source,
    embedder: Embedder,
    batch_size: int,
    *,
    stop: threading.Event | None = None,
) -> tuple[Vectors, Vectors]:
    """Read items' old vectors and embed their contents by the new model.

    Returns (n, d_old) and (n, d_new), row i of both being the same item; items without an old
    vector or content, or that cannot be embedded, are left out: the backfill will deal with them.
    stop: set it to end with the pairs made so far.
    Raises what the embedder raised when no item is at fault, or when all of many are.
    """
    dimension = embedder.model_id.dimension
    old_rows, new_rows = [], []
    failures: list[Exception] = []
    for begin in range(0, len(item_ids), batch_size):
        if stop is not None and stop.is_set():
            break
        contents = source(item_ids[begin : begin + batch_size])
        found = gallery.vectors(list(contents), old_model)
        if not found.item_ids:
            continue
        made = embed_what_can_be(
            embedder, {item_id: contents[item_id] for item_id in found.item_ids}, failures
        )
        there = [row for row, item_id in enumerate(found.item_ids) if item_id in made]
        if there:
            new_rows.append(np.stack([made[found.item_ids[row]] for row in there]))
            old_rows.append(found.vectors[there])
        elif not new_rows and len(failures) >= _ALL_OF_MANY:
            raise failures[0]
    if not old_rows:
        empty = np.empty((0, old_model.dimension), np.float32)
        return empty, np.empty((0, dimension), np.float32)
    return np.concatenate(old_rows), np.concatenate(new_rows)


def embed_what_can_be(
    embedder: Embedder, contents: Mapping[str, Any], failures: list[Exception]
) -> dict[str, NDArray[np.float32]]:
    """Embed items, narrowing failures down to single ones; each failure is added to the list."""
    made: dict[str, NDArray[np.float32]] = {}
    waiting = [list(contents)]
    while waiting:
        item_ids = waiting.pop()
        rows = [contents[item_id] for item_id in item_ids]
        try:
            vectors = tried(make_vectors, embedder, embedder.model_id, item_ids, rows)
        except Exception as error:  # user code may raise anything
            if no_item_at_fault(error):
                raise
            failures.append(error)
            if len(item_ids) > 1:
                waiting += narrowed(item_ids, error)
        else:
            made.update(zip(item_ids, vectors, strict=True))
    return made
