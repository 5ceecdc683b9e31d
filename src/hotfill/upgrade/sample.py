"""Draw items evenly from one side, and embed them by both models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotfill.checks import check_vectors
from hotfill.upgrade.backfill import tried
from hotfill.upgrade.order import pages_of

if TYPE_CHECKING:
    from hotfill.stores.base import Gallery
    from hotfill.types import Embedder, ModelId, Source, Vectors


def sample_ids(gallery: Gallery, space: ModelId, size: int, seed: int) -> list[str]:
    """Draw up to `size` items from the whole side, in one walk (reservoir sampling)."""
    rng = np.random.default_rng(seed)
    sample: list[str] = []
    seen = 0
    for page in pages_of(gallery, space):
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
) -> tuple[Vectors, Vectors]:
    """Read items' old vectors and embed their contents by the new model.

    Returns (n, d_old) and (n, d_new), row i of both being the same item; items without an old
    vector or without content are left out.
    """
    dimension = embedder.model_id.dimension
    old_rows, new_rows = [], []
    for begin in range(0, len(item_ids), batch_size):
        contents = source(item_ids[begin : begin + batch_size])
        found = gallery.vectors(list(contents), old_model)
        if not found.item_ids:
            continue
        vectors = tried(embedder, [contents[item_id] for item_id in found.item_ids])
        new_rows.append(check_vectors(vectors, dimension, item_ids=found.item_ids))
        old_rows.append(found.vectors)
    if not old_rows:
        empty = np.empty((0, old_model.dimension), np.float32)
        return empty, np.empty((0, dimension), np.float32)
    return np.concatenate(old_rows), np.concatenate(new_rows)
