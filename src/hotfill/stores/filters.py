"""What a filter and a metadata value may be, and what a filter means.

The meaning is fixed here once, so that the same filter finds the same items in every store:
texts, numbers and booleans never equal each other; 3 and 3.0 do; an absent key matches nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

from hotfill.checks import is_unicode
from hotfill.errors import InputError

Scalar: TypeAlias = str | int | float | bool
Metadata: TypeAlias = Mapping[str, Scalar]
"""What a user keeps with a vector and filters by. Keys must not begin with an underscore."""


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number, both inclusive; None leaves that end open."""

    at_least: float | None = None
    at_most: float | None = None


Where: TypeAlias = Mapping[str, Scalar | Sequence[Scalar] | Range]
"""A filter: every key must match its value, one of its values, or its range.

Texts, numbers and booleans never equal each other; 3 and 3.0 do; an absent key matches nothing.
"""

MOST_METADATA = 256  # keys of an item; in some stores each is a column
MOST_KEYS = 32  # of a filter
MOST_VALUES = 1000  # of a key: an engine may try each of them on each item
MOST_BYTES = 2**20  # of all texts of a filter, as UTF-8
_LARGEST_WHOLE_NUMBER = 2**63 - 1  # what the stores hold


def check_metadata(metadata: Sequence[Metadata], n_items: int) -> None:
    """Raise InputError unless there is one usable mapping, of few enough keys, per item."""
    if isinstance(metadata, (str, Mapping)) or len(metadata) != n_items:
        raise InputError(
            f"metadata: expected a list of one mapping per item ({n_items}), got a "
            f"{type(metadata).__name__} of {len(metadata)}"
        )
    for row in metadata:
        if not isinstance(row, Mapping):
            raise InputError(f"metadata: expected a mapping, got {row!r}")
        if len(row) > MOST_METADATA:
            raise InputError(
                f"metadata: an item has at most {MOST_METADATA} keys, got {len(row):,}; nothing "
                "was written"
            )
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
    """Raise InputError unless every condition can be understood by every store, at its cost.

    At most MOST_KEYS keys, MOST_VALUES values of a key and MOST_BYTES bytes of text.
    """
    if not isinstance(where, Mapping):
        raise InputError(f"a filter is a mapping of keys to values, got {where!r}")
    if len(where) > MOST_KEYS:
        raise InputError(f"a filter has at most {MOST_KEYS} keys, got {len(where)}")
    n_bytes = 0
    for key, wanted in where.items():
        _check_key(key)
        n_bytes += len(key.encode())
        if isinstance(wanted, Range):
            for bound in (wanted.at_least, wanted.at_most):
                if bound is not None:
                    _check_bound(key, bound)
            continue
        values = alternatives(wanted)
        if len(values) > MOST_VALUES:
            raise InputError(
                f"filter on {key!r}: at most {MOST_VALUES:,} values, got {len(values):,}: ask "
                "several times, or filter by a value that these items share"
            )
        for value in values:
            _check_scalar(key, value)
            n_bytes += len(value.encode()) if isinstance(value, str) else 0
    if n_bytes > MOST_BYTES:
        raise InputError(
            f"the texts of a filter are at most {MOST_BYTES:,} bytes in all, got {n_bytes:,}"
        )


def alternatives(wanted: Scalar | Sequence[Scalar]) -> Sequence[Scalar]:
    """Return the values of which one must match."""
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return wanted
    return (wanted,)


def conditions_of(where: Where) -> int:
    """Count what an engine may have to check on an item: a range, or the values of one kind."""
    return sum(
        1 if isinstance(wanted, Range) else max(len(set(map(kind_of, alternatives(wanted)))), 1)
        for wanted in where.values()
    )


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
    return any(kind_of(value) is kind_of(one) and value == one for one in alternatives(wanted))


def kind_of(value: Scalar) -> type:
    """Return str, bool or float: values of different kinds never equal each other."""
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
    _check_text(f"the metadata key {key!r}", key)


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
    if isinstance(value, str):
        _check_text(f"metadata {key!r}: {value!r}", value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"metadata {key!r}: expected a finite number, got {value!r}")
    if isinstance(value, int) and abs(value) > _LARGEST_WHOLE_NUMBER:
        raise InputError(f"metadata {key!r}: whole numbers end at 2**63 - 1, got {value!r}")


def _check_text(what: str, text: str) -> None:
    """Raise InputError for what some store cannot hold: lone surrogates, and NUL."""
    if not is_unicode(text):
        raise InputError(f"{what} holds half a character (a lone surrogate): give valid Unicode")
    if "\0" in text:
        raise InputError(f"{what} holds a NUL character, which not every store can keep")
