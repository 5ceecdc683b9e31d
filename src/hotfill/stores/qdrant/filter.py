"""Conditions on points in the words of qdrant-client: the user's filters, and hotfill's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdrant_client import models

from hotfill.stores.qdrant_points import SIDE, VERSION, FilterWords, made_by, path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.stores.base import Where
    from hotfill.stores.qdrant.stamp import NamedVector

_EXACT_IN_FLOAT64 = 2**53
_MOST_NAMES = 5  # in a key with dots, to look for it in all ways: 16


def where_filter(where: Where, *, adopted: bool) -> models.Filter:
    """Translate a checked filter. adopted: whether a dot in a key goes one level down."""
    filter_: models.Filter = _NESTED_WORDS.where(where) if adopted else _WORDS.where(where)
    return filter_


class _Words(FilterWords):
    def all_of(self, conditions: Sequence[Any]) -> models.Filter:
        return models.Filter(must=list(conditions))

    def any_of(self, conditions: Sequence[Any]) -> models.Filter:
        return models.Filter(should=list(conditions)) if conditions else these([])

    def between(self, key: str, low: float, high: float) -> Any:
        return self._at(key, range=models.Range(gte=low, lte=high))

    def one_text_of(self, key: str, texts: Sequence[str]) -> Any:
        return self._at(key, match=models.MatchAny(any=list(texts)))

    def one_flag_of(self, key: str, flags: Sequence[bool]) -> Any:
        matches = [models.MatchValue(value=flag) for flag in set(flags)]
        return self.any_of([self._at(key, match=match) for match in matches])

    def one_number_of(self, key: str, numbers: Sequence[int | float]) -> Any:
        # The engine's match on numbers knows whole ones only, and 3 would not match 3.0.
        large = [n for n in numbers if isinstance(n, int) and abs(n) > _EXACT_IN_FLOAT64]
        either = [self.between(key, n, n) for n in numbers if n not in large]
        if large:
            either.append(self._at(key, match=models.MatchAny(any=large)))
        return self.any_of(either)

    def _at(self, key: str, **condition: Any) -> Any:
        return models.FieldCondition(key=path(key), **condition)


class _NestedWords(_Words):
    def _at(self, key: str, **condition: Any) -> Any:
        found = [models.FieldCondition(key=path(*way), **condition) for way in _ways(key)]
        return found[0] if len(found) == 1 else self.any_of(found)


def _ways(key: str) -> list[tuple[str, ...]]:
    """List where a key can stand: each dot goes one level down, or is part of a name."""
    names = key.split(".")
    if not all(names):
        return [(key,)]
    if len(names) > _MOST_NAMES:
        return [(key,), tuple(names)]
    first, *rest = names
    ways: list[tuple[str, ...]] = [(first,)]
    for name in rest:
        ways = [
            longer for way in ways for longer in ((*way[:-1], f"{way[-1]}.{name}"), (*way, name))
        ]
    return ways


_WORDS, _NESTED_WORDS = _Words(), _NestedWords()


def searched_in(space: NamedVector) -> models.Filter:
    """Match the items of a side."""
    here = _match(SIDE, space.side)
    unsaid = [_empty(SIDE)] if space.adopted else []
    return models.Filter(should=[here, *unsaid])


def made_by_transform(space: NamedVector, transform: str) -> models.Filter:
    """Match items whose vector in a space a certain transform made."""
    return models.Filter(must=[_match(made_by(space.side), transform)])


def made_by_model(space: NamedVector) -> models.Filter:
    """Match items whose vector in a space no transform made."""
    return models.Filter(must=[_empty(made_by(space.side))])


def having(space: NamedVector) -> models.Filter:
    """Match points that have a vector in a space, searched or kept."""
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


def _match(key: str, value: str) -> Any:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _empty(key: str) -> Any:
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
