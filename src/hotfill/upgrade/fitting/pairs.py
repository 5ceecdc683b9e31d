"""Pairs for a fit: items' vectors of the old model and of the new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotfill.upgrade.work.narrowing import embed_what_can_be

if TYPE_CHECKING:
    import threading

    from hotfill.stores.base import Gallery
    from hotfill.types import Embedder, ModelId, Source, Vectors

_ALL_OF_MANY = 20  # failures without one success: then not the items are at fault


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
