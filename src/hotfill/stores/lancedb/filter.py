"""Filters in the words of the engine. Their meaning is fixed in `hotfill.stores.filters`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hotfill.errors import InputError
from hotfill.stores.base import Range
from hotfill.stores.filters import alternatives
from hotfill.stores.lancedb.layout import LARGEST, OWN, pa, quoted, type_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hotfill.stores.base import Scalar, Where
    from hotfill.stores.lancedb.layout import LanceLayout

_NEVER = "false"


def where_sql(layout: LanceLayout, where: Where) -> list[str]:
    """Translate a checked filter: conditions that must all hold."""
    return [_condition(layout, key, wanted) for key, wanted in where.items()]


def ids_sql(layout: LanceLayout, item_ids: Iterable[str]) -> str:
    """Return the condition that a row is one of these items."""
    if layout.ids_are_numbers:
        literals = [item_id for item_id in item_ids if is_number(item_id)]
    else:
        literals = [text(item_id) for item_id in item_ids]
    return f"{quoted(layout.item_id)} IN ({', '.join(literals)})" if literals else _NEVER


def after_sql(layout: LanceLayout, item_id: str) -> str:
    """Return the condition that a row comes after an item in the order of ids."""
    literal = item_id if layout.ids_are_numbers else text(item_id)
    return f"{quoted(layout.item_id)} > {literal}"


def is_number(item_id: str) -> bool:
    """Tell whether a column of whole numbers can hold an id so that it comes back as written."""
    try:
        number = int(item_id)
    except ValueError:
        return False
    return str(number) == item_id and abs(number) <= LARGEST["whole"]


def text(value: str) -> str:
    """Return a text as SQL takes it."""
    return "'" + value.replace("'", "''") + "'"


def _condition(layout: LanceLayout, key: str, wanted: Scalar | Sequence[Scalar] | Range) -> str:
    if key not in layout.metadata:
        _check_no_other_column(layout, key)
    columns = {
        kind: _comparable(layout, path) for kind, path in layout.metadata.get(key, {}).items()
    }
    if isinstance(wanted, Range):
        return _either(
            _between(columns[kind], wanted, kind) for kind in ("whole", "real") if kind in columns
        )
    literals: dict[str, list[str]] = {}
    for value in alternatives(wanted):
        for kind, literal in _literals(value):
            literals.setdefault(kind, []).append(literal)
    return _either(
        f"{columns[kind]} IN ({', '.join(some)})"
        for kind, some in literals.items()
        if kind in columns
    )


def _check_no_other_column(layout: LanceLayout, key: str) -> None:
    """Raise InputError for a key that is a column, and not one of metadata.

    It would match nothing, and nobody would know why.
    """
    name = key if key in layout.schema.names else key.partition(".")[0]
    if name in layout.schema.names and name not in (layout.item_id, *OWN, *layout.names()):
        raise InputError(
            f"filter on {key!r}: the column {name!r} is of type {layout.schema.field(name).type}; "
            "hotfill filters by texts, numbers and booleans, and by such fields of structs "
            "(column.field)"
        )


def _comparable(layout: LanceLayout, path: Sequence[str]) -> str:
    """Return a column or field widened to the type of the literals it is compared with."""
    name, kind = ".".join(map(quoted, path)), type_at(layout, path)
    if pa.types.is_integer(kind) and not pa.types.is_int64(kind):
        return f"cast({name} as bigint)"
    if pa.types.is_floating(kind) and not pa.types.is_float64(kind):
        return f"cast({name} as double)"
    return name


def _literals(value: Scalar) -> Iterable[tuple[str, str]]:
    """List in which kinds of columns a value may stand, and how it is written there."""
    if isinstance(value, bool):
        yield "flag", str(value).lower()
    elif isinstance(value, str):
        yield "text", text(value)
    else:
        if value == int(value) and abs(value) <= LARGEST["whole"]:
            yield "whole", str(int(value))
        if value == float(value):
            yield "real", repr(float(value))


def _between(column: str, wanted: Range, kind: str) -> str:
    limit = LARGEST[kind]
    low = -math.inf if wanted.at_least is None else wanted.at_least
    high = math.inf if wanted.at_most is None else wanted.at_most
    if low > limit or high < -limit:
        return _NEVER
    conditions = [f"{column} IS NOT NULL"]
    if low >= -limit:  # a column of whole numbers takes no fractions
        conditions.append(f"{column} >= {math.ceil(low) if kind == 'whole' else float(low)!r}")
    if high <= limit:
        conditions.append(f"{column} <= {math.floor(high) if kind == 'whole' else float(high)!r}")
    return " AND ".join(conditions)


def _either(conditions: Iterable[str]) -> str:
    return " OR ".join(f"({each})" for each in conditions) or _NEVER
