"""Filters in the words of the engine. Their meaning is fixed in `hotfill.stores.filters`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotfill.extras import need
from hotfill.stores.base import Range
from hotfill.stores.filters import alternatives
from hotfill.stores.qdrant_edge.points import FLAGS

if TYPE_CHECKING:
    from hotfill.stores.base import Scalar, Where

client = need("qdrant_edge", "edge")

_EXACT_IN_FLOAT64 = 2**53


def searched_in(*spaces: str) -> Any:
    """Match items that have a vector in each of these spaces (fingerprints)."""
    return client.Filter(must=[client.HasVectorCondition(space) for space in spaces])


def where_filter(where: Where) -> Any:
    """Translate a checked filter."""
    must = []
    for key, wanted in where.items():
        if isinstance(wanted, Range):
            must.append(_in_range(key, wanted.at_least, wanted.at_most))
        else:
            either = [_equals(key, value) for value in alternatives(wanted)]
            must.append(client.Filter(should=either) if either else _nothing())
    return client.Filter(must=must)


def _equals(key: str, value: Scalar) -> Any:
    if isinstance(value, bool):
        return client.FieldCondition(FLAGS[value], match=client.MatchValue(key))
    # The engine's own match on numbers knows whole ones only, and 3 would not match 3.0.
    if isinstance(value, float) or (isinstance(value, int) and abs(value) <= _EXACT_IN_FLOAT64):
        return _in_range(key, value, value)
    return client.FieldCondition(_path(key), match=client.MatchValue(value))


def _in_range(key: str, at_least: float | None, at_most: float | None) -> Any:
    return client.FieldCondition(_path(key), range=client.RangeFloat(gte=at_least, lte=at_most))


def _path(key: str) -> str:
    return f'"{key}"'  # in quotes a dot or bracket is part of the name


def _nothing() -> Any:
    return client.HasIdCondition(set())
