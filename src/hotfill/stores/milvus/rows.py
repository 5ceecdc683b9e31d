"""How an item is kept as a row, and how rows are picked by an expression.

An item is one whole row in the collection of the side it is on.
"""

from __future__ import annotations

import base64
import math
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.stores.base import Range
from hotfill.stores.filters import alternatives, is_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Scalar, Where
    from hotfill.stores.milvus.stamp import SpaceFields


_OWN = "hotfill_"
BOOLEAN = "_bool_"
"""Before the key of a truth value in collections of our own, where it is kept as the text "True" or
"False": Milvus Lite takes true for 1 (3.2.2)."""
FIELDS = ("version", "origin", "since", "metadata", "kept")
"""In collections of our own: fields apart from key and vector. In adopted ones all but the metadata
are dynamic fields with `hotfill_` before their names, and the metadata are the other ones."""


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


def from_stored(stored: Mapping[str, Any], space: SpaceFields) -> MilvusRow:
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
    return MilvusRow(
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


# Filters as boolean expressions, whose meaning `hotfill.stores.filters` fixes ---------------------
# Every name and value is written by `quoted`, whose escapes servers and Milvus Lite share: nothing
# that a caller gives can end a text early. (The client's own `ids=` does not escape: an id with an
# apostrophe or a line break in it is taken for syntax there, pymilvus 3.0.2. Milvus Lite 3.2.2 does
# not know the escapes of JSON for control characters, which stand for themselves.)

_LARGEST = sys.float_info.max
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def quoted(text: str) -> str:
    """Write a text as a literal."""
    return f'"{text.translate(_ESCAPES)}"'


def among(field: str, values: Iterable[str | int]) -> str:
    """Match rows whose field is one of these values."""
    listed = ", ".join(quoted(v) if isinstance(v, str) else str(v) for v in values)
    return f"{field} in [{listed}]"


def where_expression(where: Where, *, adopted: bool, lite: bool) -> str:
    """Translate a checked filter, for an adopted collection or one of our own.

    lite: for Milvus Lite.
    """
    metadata, parts = "$meta" if adopted else "metadata", []
    for key, wanted in where.items():
        value = f"{metadata}[{quoted(key)}]"
        if isinstance(wanted, Range):
            parts.append(_in_range(value, wanted.at_least, wanted.at_most))
        else:
            truths = f"{metadata}[{quoted(BOOLEAN + key)}]"
            either = _alternatives(
                value, value if adopted else truths, alternatives(wanted), lists=not lite
            )
            parts.append(f"({' or '.join(either)})" if either else _nothing(value))
    return " and ".join(parts)


def _alternatives(value: str, truths: str, wanted: Sequence[Scalar], *, lists: bool) -> list[str]:
    """Write what is to be joined by `or`.

    truths: where truth values are; `value` in adopted collections, in ours as texts elsewhere.
    lists: write one for each type, as servers take neither mixed ones nor very many `or`s (2.3.5);
        Milvus Lite takes none of a value within metadata (3.2.2).
    """
    parts = []
    for one in {each for each in wanted if isinstance(each, bool)}:
        literal = str(one).lower() if truths == value else quoted(str(one))
        parts.append(f"{truths} == {literal}")
    for kind in (str, int, float):
        some = [each for each in wanted if type(each) is kind]
        literals = [quoted(each) if isinstance(each, str) else repr(each) for each in some]
        if lists and len(literals) > 1:
            parts.append(f"{value} in [{', '.join(literals)}]")
        else:
            parts += [f"{value} == {literal}" for literal in literals]
    return parts


def _nothing(value: str) -> str:
    return f"({value} == 0 and {value} == 1)"  # Milvus 2.3.5 takes no bare "1 == 2"


def _in_range(value: str, at_least: float | None, at_most: float | None) -> str:
    low = -math.inf if at_least is None else at_least
    high = math.inf if at_most is None else at_most
    if low > _LARGEST or high < -_LARGEST:
        return _nothing(value)
    low, high = max(low, -_LARGEST), min(high, _LARGEST)
    return f"({value} >= {low!r} and {value} <= {high!r})"
