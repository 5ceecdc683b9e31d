"""A move: vectors first, then the word where an item is searched. A crash may cut it anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdrant_client import models

from hotfill.errors import StoreError
from hotfill.stores.qdrant.collection import parts
from hotfill.stores.qdrant.conditions import (
    at_versions,
    both,
    having,
    made_by_model,
    searched_in,
    without,
)
from hotfill.stores.qdrant.failures import MissingPointError
from hotfill.stores.qdrant.points import SIDE, VERSION, made_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.stores.qdrant.collection import Collection
    from hotfill.stores.qdrant.stamp import Space, Stamp
    from hotfill.types import Vectors

_TRIES = 20


def move(
    collection: Collection,
    stamp: Stamp,
    space: Space,
    item_ids: Sequence[str],
    rows: Vectors,
    versions: Sequence[int],
    transform: str | None,
) -> dict[str, bool]:
    """Move items whose content still has the version given; tell which were.

    Each step is done only to points that still have that version, so that a write or a delete by
    anybody, at any moment in between, wins:

    1. A transform's vectors: note the transform, so that none is ever taken for the model's own.
    2. Write the new vectors. Nobody searches them yet.
    3. The model's own vectors: take off the note of a transform.
    4. Say that the items are searched here, if they have such a vector. That is one word in one
       point: before it an item is on its earlier side, after it on this one, never on two. The
       earlier vector stays where it is, and is retired thereby.

    Cut before 4, a retired vector of the same content and model was added or renewed, no more.
    """
    for part in parts(len(item_ids), space.model.dimension):
        _write(collection, space, list(item_ids[part]), rows[part], list(versions[part]), transform)
    mark = made_by(space.side)
    now = collection.read(item_ids, keys=[VERSION, SIDE, mark])
    return {
        item_id: item_id in now
        and now[item_id].payload.get(VERSION, 0) == version
        and stamp.searched(now[item_id].payload, SIDE) == space
        and now[item_id].payload.get(mark) == transform
        for item_id, version in zip(item_ids, versions, strict=True)
    }


def _write(
    collection: Collection,
    space: Space,
    item_ids: list[str],
    rows: Vectors,
    versions: list[int],
    transform: str | None,
) -> None:
    """Do the four steps in one request, without points that are not there."""
    for _ in range(_TRIES):
        if not item_ids:
            return
        try:
            collection.update(_steps(collection, space, item_ids, rows, versions, transform))
        except MissingPointError:  # deleted; the request stopped before step 4
            there = collection.read(item_ids, keys=[])
            kept = [i for i, item_id in enumerate(item_ids) if item_id in there]
            item_ids, rows = [item_ids[i] for i in kept], rows[kept]
            versions = [versions[i] for i in kept]
        else:
            return
    raise StoreError("could not move items: they were deleted faster than read", retryable=True)


def _steps(
    collection: Collection,
    space: Space,
    item_ids: Sequence[str],
    rows: Vectors,
    versions: Sequence[int],
    transform: str | None,
) -> list[Any]:
    points = [collection.point(item_id) for item_id in item_ids]
    meant, mark = at_versions(points, versions), made_by(space.side)
    if transform is not None:
        meant = without(meant, both(searched_in(space), made_by_model(space)))
    vectors = models.UpdateVectors(
        points=[
            models.PointVectors(id=point, vector={space.vector: row})
            for point, row in zip(points, rows.tolist(), strict=True)
        ],
        update_filter=meant,
    )
    note = models.SetPayloadOperation(
        set_payload=models.SetPayload(payload={mark: transform}, filter=meant)
    )
    no_note = models.DeletePayloadOperation(
        delete_payload=models.DeletePayload(keys=[mark], filter=meant)
    )
    turn = models.SetPayloadOperation(
        set_payload=models.SetPayload(payload={SIDE: space.side}, filter=both(meant, having(space)))
    )
    write = models.UpdateVectorsOperation(update_vectors=vectors)
    return [write, no_note, turn] if transform is None else [note, write, turn]
