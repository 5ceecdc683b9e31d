"""What rows say of items: their states, their vectors, which there are and how many."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hotfill.stores.base import Found, ItemState, Page
from hotfill.stores.inputs import ready_vectors
from hotfill.stores.milvus.conditions import quoted
from hotfill.stores.milvus.rows import metadata_of
from hotfill.stores.milvus.server import MOST_HITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hotfill.stores.milvus.rows import Row
    from hotfill.stores.milvus.server import Server
    from hotfill.stores.milvus.stamp import Space


def states(
    item_ids: Sequence[str], there: Mapping[str, tuple[Space, Row]]
) -> list[ItemState | None]:
    """Tell the state of items, from their sides and rows."""
    return [
        ItemState(
            item_id=item_id,
            version=there[item_id][1].version,
            space=there[item_id][0].model,
            origin=there[item_id][1].origin,
            metadata=metadata_of(there[item_id][1].content),
        )
        if item_id in there
        else None
        for item_id in item_ids
    ]


def vectors(item_ids: Sequence[str], there: Mapping[str, tuple[Space, Row]], where: Space) -> Found:
    """Read vectors of one space, searched or retired: both are in the item's row."""
    found = {}
    for item_id, (side, row) in there.items():
        kept = row.kept.get(str(where.number))
        if side == where:
            found[item_id] = row.vector
        elif kept is not None:
            found[item_id] = np.frombuffer(kept, dtype=np.float32)
    names = [item_id for item_id in item_ids if item_id in found]
    read = Found.of(
        [(name, there[name][1].version, found[name]) for name in names], where.model.dimension
    )
    if not where.adopted or not names:
        return read
    # An adopted collection may hold vectors of any length.
    return replace(read, vectors=ready_vectors(read.vectors, where.model, names))


def page(server: Server, where: Space, after: str | None, limit: int) -> Page:
    """List the next items of a side, in the order of their keys."""
    rows = server.page(where, after, limit)
    full = len(rows) == min(limit, MOST_HITS)
    return Page(
        item_ids=tuple(row.item_id for row in rows),
        versions=np.array([row.version for row in rows], dtype=np.int64),
        origins=tuple(row.origin for row in rows),
        cursor=rows[-1].item_id if full else None,
    )


def count(server: Server, where: Space, origin: str | None) -> int:
    """Count the items of a side, or those whose vectors a model or a transform made."""
    if origin is None:
        return server.count(where, "")
    field = '$meta["hotfill_origin"]' if where.adopted else "origin"
    if where.adopted and origin == where.model.fingerprint:  # rows that say nothing are its own
        others = f"exists {field} and {field} != {quoted(origin)}"
        return server.count(where, "") - server.count(where, others)
    return server.count(where, f"{field} == {quoted(origin)}")
