"""Writes of whole points, and of the metadata alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdrant_client import models

from hotfill.stores.qdrant.collection import parts
from hotfill.stores.qdrant.conditions import these
from hotfill.stores.qdrant.points import foreign, path, payload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata
    from hotfill.stores.qdrant.collection import Collection
    from hotfill.types import Vectors


def write(
    collection: Collection,
    item_ids: Sequence[str],
    kinds: Mapping[str, Vectors],
    metadata: Sequence[Metadata] | None,
    versions: NDArray[Any],
    side: str,
) -> None:
    """Write whole points, searched on a side. Without metadata that of the points before stays.

    kinds: vectors by their name. versions: int64 (n,).
    """
    points = [collection.point(item_id) for item_id in item_ids]
    if metadata is None:
        before = collection.read(item_ids, keys=None)
        metadata = [
            foreign(before[item_id].payload) if item_id in before else {} for item_id in item_ids
        ]
    for part in parts(len(item_ids), sum(kind.shape[1] for kind in kinds.values())):
        lists = {name: kind[part].tolist() for name, kind in kinds.items()}
        written = [
            models.PointStruct(
                id=points[place],
                vector={name: kind[i] for name, kind in lists.items()},
                payload=payload(item_ids[place], int(versions[place]), side, metadata[place]),
            )
            for i, place in enumerate(range(*part.indices(len(item_ids))))
        ]
        collection.update([models.UpsertOperation(upsert=models.PointsList(points=written))])


def set_metadata(
    collection: Collection, metadata: Mapping[str, Metadata], there: Mapping[str, Any]
) -> None:
    """Replace the metadata of points that are there. New values first, then what has to go."""
    operations: list[Any] = []
    for item_id, row in metadata.items():
        if item_id not in there:
            continue
        item = these([collection.point(item_id)])
        if row:
            operations.append(
                models.SetPayloadOperation(
                    set_payload=models.SetPayload(payload=dict(row), filter=item)
                )
            )
        if gone := [path(key) for key in foreign(there[item_id].payload) if key not in row]:
            operations.append(
                models.DeletePayloadOperation(
                    delete_payload=models.DeletePayload(keys=gone, filter=item)
                )
            )
    for part in parts(len(operations), 1):
        collection.update(operations[part])


def delete(collection: Collection, item_ids: Sequence[str]) -> None:
    """Remove points."""
    for part in parts(len(item_ids), 1):
        points: list[Any] = [collection.point(item_id) for item_id in item_ids[part]]
        collection.update([models.DeleteOperation(delete=models.PointIdsList(points=points))])
