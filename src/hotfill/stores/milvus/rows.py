"""How an item is kept as a row: one whole row in the collection of the side it is on."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hotfill.stores.milvus.stamp import Space

_OWN = "hotfill_"
BOOLEAN = "_bool_"
"""Before the key of a truth value in collections of our own, where it is kept as the text "True" or
"False": Milvus Lite takes true for 1 (3.2.2)."""
FIELDS = ("version", "origin", "since", "metadata", "kept")
"""In collections of our own: fields other than key and vector. In adopted ones all but the metadata
are dynamic fields with `hotfill_` before their names, and the metadata are the other ones."""


@dataclass(frozen=True, slots=True)
class Row:
    """An item on a side.

    since: nanoseconds; when it came there. Where a crash left an item on two sides, the later
        counts.
    content: the other fields, as stored. kept: kept old vectors, space number to bytes.
    vector: empty where it was not asked for.
    """

    item_id: str
    version: int
    origin: str
    since: int
    content: Mapping[str, Any]
    kept: Mapping[str, bytes] = field(default_factory=dict)
    vector: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, dtype=np.float32))


def to_stored(row: Row, space: Space) -> dict[str, Any]:
    """Return what is written to the collection of a space."""
    assert row.vector is not None
    own = {
        "version": row.version,
        "origin": row.origin,
        "since": row.since,
        "kept": {key: base64.b64encode(value).decode() for key, value in row.kept.items()},
    }
    key = int(row.item_id) if space.number_ids else row.item_id
    head = {space.key: key, space.vector: row.vector.tolist()}
    if space.adopted:
        return {**row.content, **head, **{_OWN + name: value for name, value in own.items()}}
    return {**head, **own, "metadata": _with_texts(row.content)}


def from_stored(stored: Mapping[str, Any], space: Space) -> Row:
    """Read what stands in the collection of a space. A row that says nothing has version 0."""
    before = _OWN if space.adopted else ""
    content = (
        {
            key: value
            for key, value in stored.items()
            if key not in (space.key, space.vector) and not key.startswith(_OWN)
        }
        if space.adopted
        else _with_booleans(stored.get("metadata") or {})
    )
    kept = stored.get(f"{before}kept") or {}
    return Row(
        item_id=str(stored[space.key]),
        version=int(stored.get(f"{before}version") or 0),
        origin=stored.get(f"{before}origin") or space.model.fingerprint,
        since=int(stored.get(f"{before}since") or 0),
        content=content,
        kept={key: base64.b64decode(value) for key, value in kept.items()},
        vector=np.array(stored.get(space.vector, ()), dtype=np.float32),
    )


def metadata_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a row's content can be filtered by."""
    return {
        key: value
        for key, value in content.items()
        if not key.startswith("_") and isinstance(value, (str, int, float, bool))
    }


def _with_texts(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        BOOLEAN + key if isinstance(value, bool) else key: (
            str(value) if isinstance(value, bool) else value
        )
        for key, value in content.items()
    }


def _with_booleans(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key.removeprefix(BOOLEAN): value == "True" if key.startswith(BOOLEAN) else value
        for key, value in stored.items()
    }
