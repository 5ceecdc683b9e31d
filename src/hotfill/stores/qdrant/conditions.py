"""Filters in the words of the engine. Their meaning is fixed in `hotfill.stores.filters`."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from qdrant_client import models

from hotfill.stores.base import Range
from hotfill.stores.filters import alternatives
from hotfill.stores.qdrant.points import SIDE, VERSION, made_by, path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.stores.base import Scalar, Where
    from hotfill.stores.qdrant.stamp import Space

_EXACT_IN_FLOAT64 = 2**53
_LARGEST = sys.float_info.max


def searched_in(space: Space) -> models.Filter:
    """Match the items of a side."""
    here = _match(SIDE, space.side)
    unsaid = [_empty(SIDE)] if space.adopted else []
    return models.Filter(should=[here, *unsaid])


def made_by_transform(space: Space, transform: str) -> models.Filter:
    """Match items whose vector in a space a certain transform made."""
    return models.Filter(must=[_match(made_by(space.side), transform)])


def made_by_model(space: Space) -> models.Filter:
    """Match items whose vector in a space no transform made."""
    return models.Filter(must=[_empty(made_by(space.side))])


def having(space: Space) -> models.Filter:
    """Match points that have a vector in a space, searched or retired."""
    return models.Filter(must=[models.HasVectorCondition(has_vector=space.vector)])


def these(points: Sequence[int | str]) -> models.Filter:
    """Match points by their ids."""
    return models.Filter(must=[models.HasIdCondition(has_id=list(points))])


def at_versions(points: Sequence[int | str], versions: Sequence[int]) -> models.Filter:
    """Match those points whose content still has the version given. 0: those that say none.

    One condition for the whole batch: the version must be *one of* those expected. No two items
    have the same version (see `QdrantGallery`), so a point can only match by its own.
    """
    known = [version for version in versions if version]
    either: list[Any] = []
    if known:
        either.append(models.FieldCondition(key=VERSION, match=models.MatchAny(any=known)))
    if unsaid := [point for point, version in zip(points, versions, strict=True) if not version]:
        either.append(models.Filter(must=[these(unsaid), _empty(VERSION)]))
    return models.Filter(must=[these(points), models.Filter(should=either)])


def both(*filters: models.Filter) -> models.Filter:
    """Match what every filter matches."""
    return models.Filter(must=list(filters))


def without(wanted: models.Filter, unwanted: models.Filter) -> models.Filter:
    """Match what the first filter matches and the second does not."""
    return models.Filter(must=[wanted], must_not=[unwanted])


def where_filter(where: Where) -> models.Filter:
    """Translate a checked filter."""
    must: list[Any] = []
    for key, wanted in where.items():
        if isinstance(wanted, Range):
            must.append(_in_range(key, wanted.at_least, wanted.at_most))
        else:
            either = [_equals(key, value) for value in alternatives(wanted)]
            must.append(models.Filter(should=either) if either else these([]))
    return models.Filter(must=must)


def _equals(key: str, value: Scalar) -> Any:
    # The engine's match on numbers knows whole ones only, and 3 would not match 3.0.
    if isinstance(value, float) or (
        not isinstance(value, (bool, str)) and abs(value) <= _EXACT_IN_FLOAT64
    ):
        return _in_range(key, value, value)
    return _match(path(key), value)


def _in_range(key: str, at_least: float | None, at_most: float | None) -> Any:
    low = -math.inf if at_least is None else at_least
    high = math.inf if at_most is None else at_most
    if low > _LARGEST or high < -_LARGEST:
        return these([])
    # JSON knows no infinity, and a range without any bound is best avoided.
    bounds = models.Range(gte=max(low, -_LARGEST), lte=min(high, _LARGEST))
    return models.FieldCondition(key=path(key), range=bounds)


def _match(key: str, value: str | int | bool) -> Any:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _empty(key: str) -> Any:
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
