"""The rows that a write or a move puts: what they keep of the rows before them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hotfill.errors import InputError
from hotfill.stores.inputs import ready_vectors
from hotfill.stores.milvus.items import is_number
from hotfill.stores.milvus.rows import Row
from hotfill.stores.milvus.server import ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata
    from hotfill.stores.milvus.stamp import Space, Stamp
    from hotfill.types import ModelId, Vectors


def check_possible(item_ids: Sequence[str], stamp: Stamp) -> None:
    """Raise InputError for ids that the gallery's collections cannot have as keys."""
    for item_id in item_ids:
        if len(item_id.encode()) > ID_BYTES:
            raise InputError(f"item id {item_id[:50]!r}...: Milvus takes {ID_BYTES} bytes")
        if stamp.spaces[0].number_ids and not is_number(item_id):
            raise InputError(
                f"item id {item_id!r}: the keys of the adopted collection are whole numbers"
            )


def written(
    item_ids: Sequence[str],
    rows: Vectors,
    metadata: Sequence[Metadata] | None,
    retired: Mapping[ModelId, Vectors],
    versions: NDArray[np.int64],
    *,
    space: ModelId,
    stamp: Stamp,
    before: Mapping[str, tuple[Space, Row]],
) -> list[Row]:
    """Make the rows of items with new content. Without metadata that of the rows before stays."""
    made = []
    for i, item_id in enumerate(item_ids):
        content: Mapping[str, object] = {}
        if metadata is not None:
            content = metadata[i]
        elif item_id in before:
            content = before[item_id][1].content
        version = int(versions[i])
        kept = {
            str(stamp.space(model).number): kind[i].tobytes() for model, kind in retired.items()
        }
        made.append(Row(item_id, version, space.fingerprint, version, content, kept, rows[i]))
    return made


def described(
    item_ids: Sequence[str],
    metadata: Sequence[Metadata],
    space: Space,
    there: Mapping[str, tuple[Space, Row]],
) -> list[Row]:
    """Make the rows of the items on one side with other metadata."""
    return [
        replace(there[item_id][1], content=content)
        for item_id, content in zip(item_ids, metadata, strict=True)
        if item_id in there and there[item_id][0] == space
    ]


def moved(
    item_ids: Sequence[str],
    rows: Vectors,
    versions: NDArray[np.int64],
    *,
    target: Space,
    origin: str,
    now: int,
    before: Mapping[str, tuple[Space, Row]],
) -> list[Row]:
    """Make the rows of those items that may move to a side; the vectors before are kept in them.

    now: nanoseconds; a row counts from then on, and in any case later than the one before it.
    """
    own = target.model.fingerprint
    made = []
    for i, item_id in enumerate(item_ids):
        side, row = before.get(item_id, (None, None))
        if side is None or row is None or row.version != versions[i]:
            continue
        if side == target and row.origin == own != origin:
            continue  # the model's own vector is better than any transform's
        kept = {key: vector for key, vector in row.kept.items() if key != str(target.number)}
        if side != target:
            kept[str(side.number)] = ready_vectors(row.vector[None], side.model, None)[0].tobytes()
        since = max(now, row.since + 1)
        made.append(replace(row, origin=origin, since=since, kept=kept, vector=rows[i]))
    return made
