"""Filters as Milvus's boolean expressions. Their meaning is fixed in `hotfill.stores.filters`.

Every name and value is written by `json.dumps`, whose escapes the expression language shares:
nothing that a caller gives can end a text early. (The client's own `ids=` does not escape: an id
with an apostrophe or a line break in it is taken for syntax there, pymilvus 3.0.2.)
"""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING

from hotfill.stores.base import Range
from hotfill.stores.filters import alternatives
from hotfill.stores.milvus.rows import BOOLEAN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hotfill.stores.base import Scalar, Where

_LARGEST = sys.float_info.max


def quoted(text: str) -> str:
    """Write a text as a literal."""
    return json.dumps(text, ensure_ascii=False)


def among(field: str, values: Iterable[str | int]) -> str:
    """Match rows whose field is one of these values."""
    listed = ", ".join(quoted(v) if isinstance(v, str) else str(v) for v in values)
    return f"{field} in [{listed}]"


def where_expression(where: Where, *, adopted: bool) -> str:
    """Translate a checked filter, for an adopted collection or one of our own."""
    metadata, parts = "$meta" if adopted else "metadata", []
    for key, wanted in where.items():
        value = f"{metadata}[{quoted(key)}]"
        if isinstance(wanted, Range):
            parts.append(_in_range(value, wanted.at_least, wanted.at_most))
        else:
            either = [
                f"{metadata}[{quoted(BOOLEAN + key)}] == {quoted(str(one))}"
                if isinstance(one, bool) and not adopted
                else _equals(value, one)
                for one in alternatives(wanted)
            ]
            parts.append(f"({' or '.join(either)})" if either else _nothing(value))
    return " and ".join(parts)


def _equals(value: str, wanted: Scalar) -> str:
    if isinstance(wanted, str):
        return f"{value} == {quoted(wanted)}"
    if isinstance(wanted, bool):
        return f"{value} == {'true' if wanted else 'false'}"
    return f"{value} == {wanted!r}"


def _nothing(value: str) -> str:
    return f"({value} == 0 and {value} == 1)"  # Milvus 2.3.5 takes no bare "1 == 2"


def _in_range(value: str, at_least: float | None, at_most: float | None) -> str:
    low = -math.inf if at_least is None else at_least
    high = math.inf if at_most is None else at_most
    if low > _LARGEST or high < -_LARGEST:
        return _nothing(value)
    low, high = max(low, -_LARGEST), min(high, _LARGEST)
    return f"({value} >= {low!r} and {value} <= {high!r})"
