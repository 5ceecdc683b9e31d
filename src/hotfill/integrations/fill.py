"""Fill a gallery from a reader; calling it again goes on where it stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotfill.errors import ModelMismatchError, StoreError
from hotfill.vectors import check_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.integrations.items import Reader
    from hotfill.stores.base import Gallery
    from hotfill.types import Embedder


def fill_gallery(
    gallery: Gallery,
    reader: Reader,
    embedder: Embedder,
    *,
    batch_size: int = 256,
    on_batch: Callable[[int], None] = lambda items: None,
) -> int:
    """Embed every item that the gallery does not hold yet, and write it. Returns how many.

    gallery: stamped with the embedder's model as its newest space, and with no upgrade under way:
        while one is, write through `Serving`.
    on_batch: called after every batch with the number of items read so far.
    Memory is bounded by a batch. Killed at any moment, the next call embeds what is missing; to
    write items again whose content changed, upsert them.
    Raises ModelMismatchError, and what reader, embedder and gallery raise.
    """
    model = embedder.model_id
    if not gallery.spaces:
        raise StoreError(f"the gallery is not stamped: call add_space({model}) first")
    if gallery.spaces[-1] != model:
        raise ModelMismatchError("fill a gallery", gallery.spaces[-1], model)
    read = written = 0
    for batch in reader.batches(batch_size):
        there = gallery.get(batch.item_ids)
        new = [row for row, state in enumerate(there) if state is None]
        if new:
            item_ids = [batch.item_ids[row] for row in new]
            vectors = embedder([batch.contents[row] for row in new])
            gallery.upsert(
                item_ids,
                check_vectors(vectors, model.dimension, item_ids=item_ids),
                space=model,
                metadata=[batch.metadata[row] for row in new],
            )
            written += len(new)
        read += len(batch)
        on_batch(read)
    return written
