"""Pairs for a chain: a sample's vectors of the new model and of every old one.

The new model embeds each sampled item once. Old vectors are read where the store has them, searched
or retired: an item that an unfinished upgrade moved has vectors of both its models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.upgrade.fitting.base import ChainPairs
from hotfill.upgrade.work.narrowing import embed_what_can_be
from hotfill.upgrade.work.sample import sample_ids

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from hotfill.stores.base import Gallery
    from hotfill.types import Embedder, ModelId, Source, Vectors
    from hotfill.upgrade.plan import Plan

ENOUGH = 500
"""With fewer vectors of the old model its embedder makes more, where there is one."""


def sample_of_all_sides(gallery: Gallery, plan: Plan) -> list[str]:
    """Draw `plan.fit_items` items of each side, so that a small side is not left out."""
    drawn: dict[str, None] = {}
    for space in gallery.spaces:
        drawn |= dict.fromkeys(sample_ids(gallery, [space], plan.fit_items, plan.seed))
    return list(drawn)


def chain_pairs(
    gallery: Gallery,
    plan: Plan,
    item_ids: Sequence[str],
    source: Source,
    new_embedder: Embedder,
    old_embedder: Embedder | None,
    stop: threading.Event,
) -> ChainPairs:
    """Embed items by the new model, and read what the store has of them in every old space.

    Items that have no content or cannot be embedded are left out. Raises what embedders raise when
    no item is at fault.
    """
    made: dict[str, Any] = {}
    for begin in range(0, len(item_ids), plan.batch_size):
        if stop.is_set():
            break
        contents = source(item_ids[begin : begin + plan.batch_size])
        made |= embed_what_can_be(new_embedder, contents, []) if contents else {}
    row_of = {item_id: row for row, item_id in enumerate(made)}
    new = np.array(list(made.values()), np.float32).reshape(-1, plan.new_model.dimension)
    old: dict[ModelId, tuple[Any, Vectors]] = {}
    for model in plan.old_models:
        found = gallery.vectors(list(made), model)
        vectors = dict(zip(found.item_ids, found.vectors, strict=True))
        if model == plan.old_model and old_embedder is not None:
            lacking = [item_id for item_id in made if item_id not in vectors]
            for begin in range(0, min(len(lacking), ENOUGH - len(vectors)), plan.batch_size):
                contents = source(lacking[begin : begin + plan.batch_size])
                vectors |= embed_what_can_be(old_embedder, contents, []) if contents else {}
        rows = np.array([row_of[item_id] for item_id in vectors], dtype=np.int64)
        table = np.array(list(vectors.values()), np.float32).reshape(-1, model.dimension)
        old[model] = (rows, table)
    return ChainPairs(new, old)
