"""Pairs: items' vectors of the old model and of the new one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.upgrade.work.narrowing import embed_what_can_be

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from hotfill.stores.base import Gallery
    from hotfill.types import Embedder, ModelId, Source, Vectors

_ALL_OF_MANY = 20  # failures without one success: then not the items are at fault


@dataclass(frozen=True, slots=True, eq=False)
class PairedVectors:
    """Row i of both is the item item_ids[i]: old (n, d_old), new (n, d_new), float32."""

    item_ids: tuple[str, ...]
    old: Vectors
    new: Vectors


def paired_vectors(
    gallery: Gallery,
    item_ids: Sequence[str],
    old_model: ModelId,
    source: Source,
    embedder: Embedder,
    batch_size: int,
    *,
    old_embedder: Embedder | None = None,
    stop: threading.Event | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
) -> PairedVectors:
    """Read items' old vectors and embed their contents by the new model.

    Items without an old vector or content, or that cannot be embedded, are left out: the backfill
    will deal with them.
    old_embedder: makes the old vectors anew instead, for items that are to be queries.
    stop: set it to end with the pairs made so far. on_batch: told how many items are done.
    Raises what the embedder raised when no item is at fault, or when all of many are.
    """
    old: dict[str, Any] = {}
    new: dict[str, Any] = {}
    failures: list[Exception] = []
    for begin in range(0, len(item_ids), batch_size):
        if stop is not None and stop.is_set():
            break
        contents = source(item_ids[begin : begin + batch_size])
        if old_embedder is None:
            there = _stored(gallery, list(contents), old_model)
        else:
            there = embed_what_can_be(old_embedder, contents, failures) if contents else {}
        if there:
            old |= there
            known = {item_id: contents[item_id] for item_id in there}
            made = embed_what_can_be(embedder, known, failures)
            new |= {item_id: made[item_id] for item_id in known if item_id in made}
        if not new and len(failures) >= _ALL_OF_MANY:
            raise failures[0]
        on_batch(min(begin + batch_size, len(item_ids)))
    return PairedVectors(
        tuple(new),
        _table([old[item_id] for item_id in new], old_model),
        _table(list(new.values()), embedder.model_id),
    )


def _stored(gallery: Gallery, item_ids: Sequence[str], model: ModelId) -> Mapping[str, Any]:
    found = gallery.vectors(item_ids, model)
    return dict(zip(found.item_ids, found.vectors, strict=True))


def _table(rows: Sequence[Any], model: ModelId) -> Vectors:
    return np.array(rows, np.float32).reshape(-1, model.dimension)
