"""Filters in SQL over metadata kept as JSON. Their meaning is fixed in `hotfill.stores.filters`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hotfill.stores.base import Range
from hotfill.stores.filters import alternatives

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.stores.base import Metadata, Scalar, Where

_NUMBERS = "json_type(metadata, ?) IN ('integer', 'real')"
_VALUE = "json_extract(metadata, ?)"


def where_sql(where: Where) -> tuple[str, list[Any]]:
    """Translate a checked filter: a condition and its parameters."""
    conditions, values = ["1"], []
    for key, wanted in where.items():
        condition, more = _condition(_path(key), wanted)
        conditions.append(condition)
        values += more
    return " AND ".join(f"({condition})" for condition in conditions), values


def document(metadata: Metadata) -> str:
    """Return metadata as it is kept."""
    return json.dumps(dict(metadata), ensure_ascii=False)


def _condition(path: str, wanted: Scalar | Sequence[Scalar] | Range) -> tuple[str, list[Any]]:
    if isinstance(wanted, Range):
        conditions = [_NUMBERS]
        values: list[Any] = [path]
        for sign, bound in ((">=", wanted.at_least), ("<=", wanted.at_most)):
            if bound is not None:
                conditions.append(f"{_VALUE} {sign} ?")
                values += [path, _number(bound)]
        return " AND ".join(conditions), values
    either = [_equals(path, value) for value in alternatives(wanted)]
    return (
        " OR ".join(condition for condition, _ in either) or "0",
        [value for _, values in either for value in values],
    )


def _equals(path: str, value: Scalar) -> tuple[str, list[Any]]:
    if isinstance(value, bool):
        return "json_type(metadata, ?) IS ?", [path, str(value).lower()]
    if isinstance(value, str):
        return f"(json_type(metadata, ?) IS 'text' AND {_VALUE} = ?)", [path, path, value]
    return f"({_NUMBERS} AND {_VALUE} = ?)", [path, path, value]


def _number(bound: float) -> float:
    """Return what SQLite can be given: it has no whole numbers of more than 64 bits."""
    if abs(bound) < 2**63:
        return bound
    try:
        return float(bound)
    except OverflowError:
        return float("inf") if bound > 0 else float("-inf")


def _path(key: str) -> str:
    # In quotes a dot or bracket is part of the name; the name is compared as it is written there.
    return f"$.{json.dumps(key, ensure_ascii=False)}"
