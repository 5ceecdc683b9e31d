"""A move, step by step, in an order that a crash may cut anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.stores.qdrant_edge.points import VERSION, made_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.qdrant_edge.shard import Shard
    from hotfill.stores.qdrant_edge.sides import Sides
    from hotfill.stores.retired import RetiredVectors
    from hotfill.types import ModelId, Vectors


def may_move(record: Any, version: int, space: str, mark: str, transform: str | None) -> bool:
    """Tell whether an item still has the content meant, and a better vector is offered.

    record: with payload and vectors; None for an item that is not there.
    space, mark: fingerprint of the space, and the payload key of transforms that made its vectors.
    """
    if record is None or record.payload[VERSION] != version:
        return False
    own_already = space in record.vector and mark not in record.payload
    return transform is None or not own_already


def carry_over(
    items: Mapping[str, Any],
    rows: Vectors,
    space: ModelId,
    transform: str | None,
    *,
    spaces: Sequence[ModelId],
    shard: Shard,
    retired: RetiredVectors,
    sides: Sides,
) -> None:
    """Move items, given as records with payload and vectors, into `space`.

    1. The earlier vectors are kept among the retired ones, durably.
    2. Where a transform made the new vectors, the items are marked: such a vector must never be
       taken for the model's own.
    3. The new vectors are written. From here on an item is on two sides.
    4. The earlier vectors are taken away. From here on it is on one.
    5. Where the model made the new vectors, marks of transforms are taken off.
    6. Retired vectors of `space` are removed: they are searched now.

    After a crash before 3 nothing has moved; `Sides.settle` fixes one between 3 and 4; one before
    5 leaves a mark too many, and the item is embedded once more; one before 6 a row too many.
    """
    item_ids = list(items)
    target, mark = space.fingerprint, made_by(space.fingerprint)
    leaving: dict[ModelId, list[str]] = {model: [] for model in spaces if model != space}
    for model, there in leaving.items():
        name = model.fingerprint
        there.extend(item_id for item_id in item_ids if name in items[item_id].vector)
    retired.put(_earlier(items, leaving))
    if transform is not None:
        shard.set_maker(item_ids, target, transform)
    departures = [model for model, there in leaving.items() for _ in there]
    with sides.changing(arriving={space: len(departures)}, leaving=departures):
        shard.set_vectors(item_ids, target, rows)
        for model, there in leaving.items():
            if there:
                shard.remove_vectors(there, model.fingerprint)
    if transform is None:
        marked = [item_id for item_id in item_ids if mark in items[item_id].payload]
        if marked:
            shard.set_maker(marked, target, None)
    retired.forget_in_space(item_ids, target)


def _earlier(
    items: Mapping[str, Any], leaving: Mapping[ModelId, Sequence[str]]
) -> list[tuple[str, str, int, NDArray[np.float32]]]:
    rows = []
    for model, there in leaving.items():
        space = model.fingerprint
        for item_id in there:
            vector = np.array(items[item_id].vector[space], dtype=np.float32)
            rows.append((item_id, space, items[item_id].payload[VERSION], vector))
    return rows
