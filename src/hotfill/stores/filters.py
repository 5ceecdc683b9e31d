"""What a filter and a metadata value may be, and what a filter means.

The meaning is fixed here once, so that the same filter finds the same items in every store:
texts, numbers and booleans never equal each other; 3 and 3.0 do; an absent key matches nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from hotfill.errors import InputError
from hotfill.stores.base import Range

if TYPE_CHECKING:
    from hotfill.stores.base import Metadata, Scalar, Where

_LARGEST_WHOLE_NUMBER = 2**63 - 1  # what the stores hold


def check_metadata(metadata: Sequence[Metadata], n_items: int) -> None:
    """Raise InputError unless there is one usable mapping per item."""
    if len(metadata) != n_items:
        raise InputError(
            f"metadata: expected one mapping per item ({n_items}), got {len(metadata)}"
        )
    for row in metadata:
        if not isinstance(row, Mapping):
            raise InputError(f"metadata: expected a mapping, got {row!r}")
        for key, value in row.items():
            _check_key(key)
            _check_scalar(key, value)


def is_metadata(key: str, value: Any) -> bool:
    """Tell whether a key and its value are metadata: people's own records may hold more."""
    try:
        _check_key(key)
        _check_scalar(key, value)
    except InputError:
        return False
    return True


def check_where(where: Where) -> None:
    """Raise InputError unless every condition can be understood by every store."""
    for key, wanted in where.items():
        _check_key(key)
        if isinstance(wanted, Range):
            for bound in (wanted.at_least, wanted.at_most):
                if bound is not None:
                    _check_bound(key, bound)
        else:
            for value in alternatives(wanted):
                _check_scalar(key, value)


def alternatives(wanted: Scalar | Sequence[Scalar]) -> Sequence[Scalar]:
    """Return the values of which one must match."""
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return wanted
    return (wanted,)


def matches(metadata: Metadata, where: Where) -> bool:
    """Tell whether metadata passes a filter: every key must."""
    return all(
        key in metadata and _value_matches(metadata[key], wanted) for key, wanted in where.items()
    )


def _value_matches(value: Scalar, wanted: Scalar | Sequence[Scalar] | Range) -> bool:
    if isinstance(wanted, Range):
        return (
            _is_number(value)
            and (wanted.at_least is None or value >= wanted.at_least)
            and (wanted.at_most is None or value <= wanted.at_most)
        )
    return any(_kind(value) is _kind(one) and value == one for one in alternatives(wanted))


def _kind(value: Scalar) -> type:
    return float if _is_number(value) else type(value)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_key(key: Any) -> None:
    # In some stores a key is part of a path, where quotes and backslashes mean something.
    if not isinstance(key, str) or not key or key.startswith("_") or {'"', "\\"} & set(key):
        raise InputError(
            "a metadata key is a non-empty text that does not begin with an underscore and has "
            f"neither double quotes nor backslashes; got {key!r}"
        )


def _check_bound(key: str, bound: Any) -> None:
    try:
        if _is_number(bound) and not math.isnan(bound):
            return
    except OverflowError:  # a whole number larger than any float
        bound = f"one of {bound.bit_length()} bits"
    raise InputError(f"filter on {key!r}: a bound is a number, got {bound!r}")


def _check_scalar(key: str, value: Any) -> None:
    if not isinstance(value, (str, int, float, bool)):
        raise InputError(f"metadata {key!r}: expected a text, number or boolean, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"metadata {key!r}: expected a finite number, got {value!r}")
    if isinstance(value, int) and abs(value) > _LARGEST_WHOLE_NUMBER:
        raise InputError(f"metadata {key!r}: whole numbers end at 2**63 - 1, got {value!r}")
