"""How an item of a collection is a point: its id, and what of the payload is metadata.

In a gallery of our own the metadata are the top level of the payload; in an adopted collection
they may stand deeper (`hotfill.stores.nested`).
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hotfill.errors import InputError
from hotfill.stores import nested
from hotfill.stores.qdrant_points import hashed_id, is_ours

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.stores.base import Metadata

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
    return {key: value for key, (_, value) in nested.shown(stored, deep=adopted).items()}


def changed(stored: Mapping[str, Any], metadata: Metadata, *, adopted: bool) -> dict[str, Any]:
    """Return a payload with other metadata, and all else that was in it."""
    wanted, gone = nested.changes(stored, metadata, deep=adopted)
    content = deepcopy(dict(stored))
    for *parents, last in gone:
        _inside(content, parents).pop(last)
    for (*parents, last), value in wanted.items():
        _inside(content, parents)[last] = value
    return content


def foreign(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything in a payload that hotfill did not put there."""
    return {key: value for key, value in stored.items() if not is_ours(key)}


def _inside(content: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    for key in keys:
        if content.get(key) is None:
            content[key] = {}
        content = content[key]
    return content
