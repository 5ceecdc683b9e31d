"""How an item of a collection is a point: its id, and what of the payload is metadata.

A payload may hold more than metadata can: lists, nulls, coordinates, keys that begin with an
underscore. hotfill neither shows nor changes that.

In a gallery of our own the metadata are the top level of the payload. In an adopted collection a
dot in a key goes one level down: `metadata.source` is `source` in the object `metadata`, as
frameworks keep it. A key that has the dot in its own name is found too.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from hotfill.errors import InputError
from hotfill.stores.filters import check_metadata
from hotfill.stores.qdrant_points import hashed_id, is_ours

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hotfill.stores.base import Metadata

Path: TypeAlias = tuple[str, ...]
"""Where a value stands in a payload: the keys on the way to it."""

_LARGEST_NUMBER = 2**64 - 1


def point_id(item_id: str, *, adopted: bool) -> int | str:
    """Return the engine's id of an item.

    In a gallery of our own it is made from the item's id, which stands in the payload. In an
    adopted collection the items are called what their points are called: numbers and UUIDs.
    """
    if not adopted:
        return str(hashed_id(item_id))
    if item_id.isascii() and item_id.isdigit() and str(int(item_id)) == item_id:
        if int(item_id) <= _LARGEST_NUMBER:
            return int(item_id)
    else:
        try:
            if str(UUID(item_id)) == item_id:
                return item_id
        except ValueError:
            pass
    raise InputError(
        f"item id {item_id!r}: in an adopted Qdrant collection items are called by their point "
        "ids, which are whole numbers from 0 on or UUIDs in small letters with hyphens"
    )


def metadata_of(stored: Mapping[str, Any], *, adopted: bool) -> dict[str, Any]:
    """Return the metadata in a payload."""
    return {key: value for key, (_, value) in _shown(stored, adopted).items()}


def changes(
    stored: Mapping[str, Any], metadata: Metadata, *, adopted: bool
) -> tuple[dict[Path, Any], list[Path]]:
    """Tell which values to set and which to remove, so that a payload has this metadata.

    Raises InputError where something stands in the way that is no metadata.
    """
    shown = _shown(stored, adopted)
    wanted = {}
    for key, value in metadata.items():
        path = shown[key][0] if key in shown else _new_path(stored, key, adopted)
        wanted[path] = value
    return wanted, [path for key, (path, _) in shown.items() if key not in metadata]


def changed(stored: Mapping[str, Any], metadata: Metadata, *, adopted: bool) -> dict[str, Any]:
    """Return a payload with other metadata, and all else that was in it."""
    wanted, gone = changes(stored, metadata, adopted=adopted)
    content = deepcopy(dict(stored))
    for *parents, last in gone:
        _inside(content, parents).pop(last)
    for (*parents, last), value in wanted.items():
        _inside(content, parents)[last] = value
    return content


def foreign(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything in a payload that hotfill did not put there."""
    return {key: value for key, value in stored.items() if not is_ours(key)}


def _shown(stored: Mapping[str, Any], adopted: bool) -> dict[str, tuple[Path, Any]]:
    """List the metadata of a payload: by key, where each stands and what it is."""
    found: dict[str, tuple[Path, Any]] = {}
    for path, value in _leaves(stored, (), deep=adopted):
        key = ".".join(path)
        if _is_metadata(key, value):
            found.setdefault(key, (path, value))
    return found


def _is_metadata(key: str, value: Any) -> bool:
    try:
        check_metadata([{key: value}], 1)
    except InputError:
        return False
    return True


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


def _new_path(stored: Mapping[str, Any], key: str, adopted: bool) -> Path:
    """Tell where a new value goes. Raises InputError where something else stands."""
    path = tuple(key.split(".")) if adopted and all(key.split(".")) else (key,)
    there: Any = stored
    for depth, name in enumerate(path):
        there = there.get(name)
        if there is None:
            return path
        if depth + 1 == len(path) or not isinstance(there, dict):
            raise InputError(
                f"metadata {key!r}: the point has {'.'.join(path[: depth + 1])!r} already, which "
                f"is no text, number or boolean but {type(there).__name__}; hotfill leaves it as "
                "it is: use another key"
            )
    return path


def _inside(content: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    for key in keys:
        if content.get(key) is None:
            content[key] = {}
        content = content[key]
    return content
