"""How an item is kept as a row, and how rows are picked by their keys.

An item is one whole row in the collection of the side it is on.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.stores.filters import is_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from hotfill.stores.milvus.stamp import SpaceFields


_OWN = "hotfill_"
BOOLEAN = "_bool_"
"""Before the key of a truth value in collections of our own, where it is kept as the text "True" or
"False": Milvus Lite takes true for 1 (3.2.2)."""
FIELDS = ("version", "origin", "since", "metadata", "kept")
"""In collections of our own: fields apart from key and vector. In adopted ones, and in those made
like them, all but the metadata are dynamic fields with `hotfill_` before their names, and the
metadata are the other fields."""


@dataclass(frozen=True, slots=True)
class MilvusRow:
    """An item on a side.

    since: nanoseconds; when it came there. Where a crash left an item on two sides, the later
        counts.
    content: the rest of it, as it is stored. kept: kept old vectors, space number to bytes.
    vector: empty where it was not asked for.
    """

    item_id: str
    version: int
    origin: str
    since: int
    content: Mapping[str, Any]
    kept: Mapping[str, bytes] = field(default_factory=dict)
    vector: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, dtype=np.float32))


def to_stored(row: MilvusRow, space: SpaceFields) -> dict[str, Any]:
    """Return what is written to the collection of a space. Nothing is noted that goes without."""
    own = {
        "version": row.version,
        "origin": row.origin,
        "since": row.since,
        "kept": {key: base64.b64encode(value).decode() for key, value in row.kept.items()},
    }
    key = int(row.item_id) if space.number_ids else row.item_id
    head = {space.key: key, space.vector: row.vector.tolist()}
    if space.bare or (space.adopted and not is_noted(row, space)):
        return {**row.content, **head}
    if space.adopted:
        if not row.kept:
            del own["kept"]
        return {**row.content, **head, **{_OWN + name: value for name, value in own.items()}}
    return {**head, **own, "metadata": _with_texts(row.content)}


def from_stored(stored: Mapping[str, Any], space: SpaceFields) -> MilvusRow:
    """Read what stands in the collection of a space.

    A row that says nothing has version 0. Where a row cannot say anything, its version is a hash of
    all that stands in it.
    """
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
    return MilvusRow(
        item_id=str(stored[space.key]),
        version=_hash(stored) if space.bare else int(stored.get(f"{before}version") or 0),
        origin=stored.get(f"{before}origin") or space.model.fingerprint,
        since=int(stored.get(f"{before}since") or 0),
        content=content,
        kept={key: base64.b64decode(value) for key, value in kept.items()},
        vector=np.array(stored.get(space.vector, ()), dtype=np.float32),
    )


def is_noted(row: MilvusRow, space: SpaceFields) -> bool:
    """Tell whether a row says more than one that its users wrote."""
    own = row.origin == space.model.fingerprint
    return not (own and row.version == row.since == 0 and not row.kept)


def _hash(stored: Mapping[str, Any]) -> int:
    text = json.dumps(stored, sort_keys=True, default=list)  # lists are the client's own
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def metadata_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a row's content can be filtered by."""
    return {key: value for key, value in content.items() if is_metadata(key, value)}


def with_metadata(content: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's content with other metadata. What hotfill does not show of it stays."""
    hidden = {key: value for key, value in content.items() if not is_metadata(key, value)}
    return {**hidden, **metadata}


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


# Expressions --------------------------------------------------------------------------------------
# Every name and value is written by `quoted`, whose escapes servers and Milvus Lite share: nothing
# that a caller gives can end a text early. (The client's own `ids=` does not escape: an id with an
# apostrophe or a line break in it is taken for syntax there, pymilvus 3.0.2. Milvus Lite 3.2.2 does
# not know the escapes of JSON for control characters, which stand for themselves.)

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def quoted(text: str) -> str:
    """Write a text as a literal."""
    return f'"{text.translate(_ESCAPES)}"'


def among(field: str, values: Iterable[str | int]) -> str:
    """Match rows whose field is one of these values."""
    listed = ", ".join(quoted(v) if isinstance(v, str) else str(v) for v in values)
    return f"{field} in [{listed}]"
