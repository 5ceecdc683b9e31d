"""Metadata in documents that hold more: which values they are, and where each stands.

A document may hold more than metadata can: lists, nulls, coordinates, keys that begin with an
underscore. hotfill neither shows nor changes that. In documents that others made, a dot in a key
goes one level down: `metadata.source` is `source` in the object `metadata`, as frameworks keep it.
A key that has the dot in its own name is found too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from hotfill.errors import InputError
from hotfill.stores.filters import is_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hotfill.stores.filters import Metadata

Path: TypeAlias = tuple[str, ...]
"""Where a value stands in a document: the keys on the way to it."""


def shown(stored: Mapping[str, Any], *, deep: bool) -> dict[str, tuple[Path, Any]]:
    """List the metadata of a document: by key, where each stands and what it is.

    deep: whether a dot in a key goes one level down.
    """
    found: dict[str, tuple[Path, Any]] = {}
    for path, value in _leaves(stored, (), deep=deep):
        key = ".".join(path)
        if is_metadata(key, value):
            found.setdefault(key, (path, value))
    return found


def changes(
    stored: Mapping[str, Any], metadata: Metadata, *, deep: bool
) -> tuple[dict[Path, Any], list[Path]]:
    """Tell which values to set and which to remove, so that a document has this metadata.

    Raises InputError where something stands in the way that is no metadata.
    """
    there = shown(stored, deep=deep)
    wanted = {}
    for key, value in metadata.items():
        path = there[key][0] if key in there else _new_path(stored, key, deep)
        wanted[path] = value
    return wanted, [path for key, (path, _) in there.items() if key not in metadata]


def _leaves(values: Mapping[str, Any], above: Path, *, deep: bool) -> Iterator[tuple[Path, Any]]:
    inner = []
    for key, value in values.items():
        if key.startswith("_"):
            continue
        if deep and isinstance(value, dict):
            inner.append((key, value))
        else:
            yield (*above, key), value
    for key, value in inner:  # later: a key with a dot in its name goes before a key in an object
        yield from _leaves(value, (*above, key), deep=deep)


def _new_path(stored: Mapping[str, Any], key: str, deep: bool) -> Path:
    """Tell where a new value goes. Raises InputError where something else stands."""
    path = tuple(key.split(".")) if deep and all(key.split(".")) else (key,)
    there: Any = stored
    for depth, name in enumerate(path):
        there = there.get(name)
        if there is None:
            return path
        if depth + 1 == len(path) or not isinstance(there, dict):
            raise InputError(
                f"metadata {key!r}: the item has {'.'.join(path[: depth + 1])!r} already, which "
                f"is no text, number or boolean but {type(there).__name__}; hotfill leaves it as "
                "it is: use another key"
            )
    return path
