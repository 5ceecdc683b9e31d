"""Item ids are texts; an adopted table may know them as numbers or UUIDs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np

from hotfill.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_WHOLE_NUMBERS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
ID_TYPES = ("text", "character varying", "uuid", *_WHOLE_NUMBERS)
"""Types of a column that can tell items apart."""


def fits(item_id: str, id_type: str) -> bool:
    """Tell whether a column can hold an id so that it comes back as it is written."""
    if id_type in _WHOLE_NUMBERS:
        try:
            number = int(item_id)
        except ValueError:
            return False
        limit = _WHOLE_NUMBERS[id_type]
        return str(number) == item_id and -limit <= number < limit
    if id_type == "uuid":
        try:
            return str(UUID(item_id)) == item_id
        except ValueError:
            return False
    return "\0" not in item_id


def check_fit(item_ids: Sequence[str], id_type: str) -> None:
    """Raise InputError unless a column can hold all ids."""
    for item_id in item_ids:
        if not fits(item_id, id_type):
            raise InputError(f"the table's ids are of type {id_type}; {item_id!r} is none")


def in_order(item_ids: Iterable[str]) -> NDArray[np.intp]:
    """Return the places of ids in the order of the ids, in which writers do not deadlock."""
    ids = list(item_ids)
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.intp)
