"""Filters as Chroma's `where`, whose meaning `hotfill.stores.filters` fixes.

Chroma keeps texts, numbers and truth values apart, and a list of values must be of one type there.
It compares stored whole numbers with a number cut to one, so that 3 is among [3.5] and "at least
3.5" for it, and stored reals with a number rounded to one (1.5.9). What that adds is taken away
here. One case is left: 2.0**63 and whole numbers that round to it are not told apart.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from hotfill.errors import InputError
from hotfill.stores.filters import Range, alternatives

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hotfill.stores.filters import Scalar, Where

_REFUSED = "_hotfill_key_"
_LARGEST = sys.float_info.max
_WHOLE = 2.0**63  # from here on no whole number is stored


def check_keys(keys: Iterable[str]) -> None:
    """Raise InputError for keys under which Chroma keeps documents and the like."""
    for key in keys:
        if key.startswith("chroma:"):
            raise InputError(
                f"metadata key {key!r}: Chroma keeps documents under keys that begin with "
                "'chroma:', and hotfill neither writes documents nor filters by them"
            )


def stored_key(key: str) -> str:
    """Return under which key Chroma takes a value: it refuses some beginnings (1.5.9)."""
    return _REFUSED + key if key.startswith(("$", "#")) else key


def key_of(stored: str) -> str:
    """Return the key that `stored_key` wrote."""
    return stored.removeprefix(_REFUSED)


def chroma_where(where: Where) -> dict[str, Any]:
    """Translate a checked filter of one key or more. Raises InputError as `check_keys`."""
    check_keys(where)
    parts = []
    for name, wanted in where.items():
        key = stored_key(name)
        parts.append(_in_range(key, wanted) if isinstance(wanted, Range) else _among(key, wanted))
    return _all(parts)


def _among(key: str, wanted: Any) -> dict[str, Any]:
    values = list(alternatives(wanted))
    plain: dict[type, list[Scalar]] = {bool: [], str: [], int: [], float: []}
    broken: list[float] = []  # cut, they are others
    long: list[int] = []  # rounded, they are others
    for value in values:
        if isinstance(value, float) and (not value.is_integer() or value > _WHOLE):
            broken.append(value)
        elif type(value) is int and float(value) != value and float(value) < _WHOLE:
            long.append(value)
        else:
            plain[type(value)].append(value)
    parts = [{key: {"$in": some}} for some in plain.values() if some]
    if broken:
        cut = [int(value) if value < _WHOLE else 2**63 - 1 for value in broken]
        parts.append(_all([{key: {"$in": broken}}, {key: {"$nin": cut}}]))
    if long:
        rounded = [float(value) for value in long]
        parts.append(_all([{key: {"$in": long}}, {key: {"$nin": rounded}}]))
    if not parts:
        return _nothing(key)
    return parts[0] if len(parts) == 1 else {"$or": parts}


def _in_range(key: str, wanted: Range) -> dict[str, Any]:
    low = -_LARGEST if wanted.at_least is None else wanted.at_least
    high = _LARGEST if wanted.at_most is None else wanted.at_most
    if low > _LARGEST or high < -_LARGEST:
        return _nothing(key)
    return _all([*_at_least(key, max(low, -_LARGEST)), *_at_most(key, min(high, _LARGEST))])


def _at_least(key: str, low: float) -> list[dict[str, Any]]:
    if isinstance(low, int) and abs(low) < _WHOLE:
        rounded = float(low)
        more = [{key: {"$gt": rounded}}] if rounded < low else []
        return [{key: {"$gte": low}}, *more]
    low = float(low)
    if low > 0 and (not low.is_integer() or low >= _WHOLE):
        return [{key: {"$gt": math.nextafter(low, -math.inf)}}]
    return [{key: {"$gte": low}}]


def _at_most(key: str, high: float) -> list[dict[str, Any]]:
    if isinstance(high, int) and abs(high) < _WHOLE:
        rounded = float(high)
        more = [{key: {"$lt": rounded}}] if high < rounded < _WHOLE else []
        return [{key: {"$lte": high}}, *more]
    high = float(high)
    if high < 0 and not high.is_integer():
        return [{key: {"$lt": math.nextafter(high, math.inf)}}]
    return [{key: {"$lte": high}}]


def _nothing(key: str) -> dict[str, Any]:
    return _all([{key: {"$eq": 0}}, {key: {"$eq": 1}}])


def _all(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return parts[0] if len(parts) == 1 else {"$and": parts}
