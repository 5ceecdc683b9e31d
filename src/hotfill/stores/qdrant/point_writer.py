"""Writes of points: moves, new content, metadata, deletes. What hotfill does not model stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qdrant_client import models

from hotfill.errors import StoreError
from hotfill.stores import nested
from hotfill.stores.qdrant.collection import MissingPointError, named, parts
from hotfill.stores.qdrant.filter import (
    at_versions,
    both,
    having,
    made_by_model,
    searched_in,
    these,
    without,
)
from hotfill.stores.qdrant.points import changed, foreign
from hotfill.stores.qdrant_points import ID, SIDE, VERSION, made_by, path, payload

if TYPE_CHECKING:
    from collections.abc import Collection as Names
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata
    from hotfill.stores.qdrant.collection import Collection
    from hotfill.stores.qdrant.stamp import NamedVector, QdrantStamp
    from hotfill.types import Vectors

_TRIES = 20
_SAME = 1e-6  # what rounding leaves of a vector that was brought to unit length


def upsert(
    collection: Collection,
    item_ids: Sequence[str],
    kinds: Mapping[str, Vectors],
    metadata: Sequence[Metadata] | None,
    versions: NDArray[Any],
    side: str,
    before: Mapping[str, Any],
    ours: Names[str],
) -> None:
    """Write new content, each item by one whole point, searched on a side.

    A point takes with it what `before`, the record of an item that exists, has: vectors of other
    names, sparse ones too, and all of the payload but the metadata that is replaced.

    kinds: vectors by their name. versions: int64 (n,). ours: the names of hotfill's vectors.
    """
    adopted = collection.adopted
    points, largest = [], 0
    for place, item_id in enumerate(item_ids):
        record = before.get(item_id)
        stored = foreign(record.payload or {}) if record else {}
        others = {} if record is None else named(record)
        content = stored if metadata is None else changed(stored, metadata[place], adopted=adopted)
        vectors = {
            **{name: vector for name, vector in others.items() if name not in ours},
            **{name: rows[place].tolist() for name, rows in kinds.items()},
        }
        largest = max(largest, sum(_numbers(vector) for vector in vectors.values()))
        points.append(
            models.PointStruct(
                id=collection.point(item_id),
                vector=vectors,
                payload={
                    **payload(int(versions[place]), side, content),
                    **({} if adopted else {ID: item_id}),
                },
            )
        )
    for part in parts(len(points), largest):
        collection.update([models.UpsertOperation(upsert=models.PointsList(points=points[part]))])


def _numbers(vector: Any) -> int:
    """Count the numbers of a vector: one row, many, or a sparse one."""
    if isinstance(vector, models.SparseVector):
        return 2 * len(vector.indices)
    return sum(map(len, vector)) if vector and isinstance(vector[0], list) else len(vector)


def set_metadata(
    collection: Collection, metadata: Mapping[str, Metadata], there: Mapping[str, Any]
) -> None:
    """Replace the metadata of points that are there. New values first, then what has to go."""
    operations: list[Any] = []
    for item_id, row in metadata.items():
        if item_id not in there:
            continue
        item = these([collection.point(item_id)])
        wanted, gone = nested.changes(there[item_id].payload, row, deep=collection.adopted)
        values: dict[tuple[str, ...], dict[str, Any]] = {}
        for (*parents, last), value in wanted.items():
            values.setdefault(tuple(parents), {})[last] = value
        for place, some in values.items():
            write = models.SetPayload(payload=some, filter=item, key=path(*place) or None)
            operations.append(models.SetPayloadOperation(set_payload=write))
        if gone:
            keys = [path(*way) for way in gone]
            remove = models.DeletePayload(keys=keys, filter=item)
            operations.append(models.DeletePayloadOperation(delete_payload=remove))
    for part in parts(len(operations), 1):
        collection.update(operations[part])


def delete(collection: Collection, item_ids: Sequence[str]) -> None:
    """Remove points."""
    for part in parts(len(item_ids), 1):
        points: list[Any] = [collection.point(item_id) for item_id in item_ids[part]]
        collection.update([models.DeleteOperation(delete=models.PointIdsList(points=points))])


def move(
    collection: Collection,
    stamp: QdrantStamp,
    space: NamedVector,
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
       earlier vector stays where it is, and is kept thereby.

    Cut before 4, a kept vector of the same content and model was added or renewed, no more.

    On the way back the vectors of an adopted space are there already, and stay unchanged.
    """
    for part in parts(len(item_ids), space.model.dimension):
        ids, batch = list(item_ids[part]), rows[part]
        there = _there(collection, stamp, space, ids, batch) if space.adopted else set()
        _write(collection, space, ids, batch, list(versions[part]), transform, there)
    mark = made_by(space.side)
    now = collection.read(item_ids, keys=[VERSION, SIDE, mark])
    return {
        item_id: item_id in now
        and now[item_id].payload.get(VERSION, 0) == version
        and stamp.searched(now[item_id].payload, SIDE) == space
        and now[item_id].payload.get(mark) == transform
        for item_id, version in zip(item_ids, versions, strict=True)
    }


def _there(
    collection: Collection,
    stamp: QdrantStamp,
    space: NamedVector,
    item_ids: list[str],
    rows: Vectors,
) -> set[str]:
    """Tell which items have kept such a vector, as far as its direction goes."""
    records = collection.read(item_ids, keys=[SIDE], vectors=[space.vector])
    found = set()
    for item_id, row in zip(item_ids, rows, strict=True):
        record = records.get(item_id)
        if record is None or stamp.searched(record.payload or {}, SIDE) == space:
            continue
        vector = named(record).get(space.vector)
        if vector is not None and np.allclose(
            _scaled(np.asarray(vector), space), _scaled(row, space), atol=_SAME
        ):
            found.add(item_id)
    return found


def _scaled(row: NDArray[Any], space: NamedVector) -> NDArray[Any]:
    length = np.linalg.norm(row)
    scaled: NDArray[Any] = row / length if space.model.metric == "cosine" and length else row
    return scaled


def _write(
    collection: Collection,
    space: NamedVector,
    item_ids: list[str],
    rows: Vectors,
    versions: list[int],
    transform: str | None,
    kept: Names[str],
) -> None:
    """Do the four steps in one request, without points that are not there."""
    for _ in range(_TRIES):
        if not item_ids:
            return
        try:
            collection.update(_steps(collection, space, item_ids, rows, versions, transform, kept))
        except MissingPointError:  # deleted; the request stopped before step 4
            there = collection.read(item_ids, keys=[])
            left = [i for i, item_id in enumerate(item_ids) if item_id in there]
            item_ids, rows = [item_ids[i] for i in left], rows[left]
            versions = [versions[i] for i in left]
        else:
            return
    raise StoreError("could not move items: they were deleted faster than read", retryable=True)


def _steps(
    collection: Collection,
    space: NamedVector,
    item_ids: Sequence[str],
    rows: Vectors,
    versions: Sequence[int],
    transform: str | None,
    kept: Names[str],
) -> list[Any]:
    points = [collection.point(item_id) for item_id in item_ids]
    meant, mark = at_versions(points, versions), made_by(space.side)
    if transform is not None:
        meant = without(meant, both(searched_in(space), made_by_model(space)))
    vectors = models.UpdateVectors(
        points=[
            models.PointVectors(id=point, vector={space.vector: row})
            for item_id, point, row in zip(item_ids, points, rows.tolist(), strict=True)
            if item_id not in kept
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
    write = [models.UpdateVectorsOperation(update_vectors=vectors)] if vectors.points else []
    return [*write, no_note, turn] if transform is None else [note, *write, turn]
