"""How an item is kept as a point: what is called what, and what is stored with its vectors."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from hotfill.errors import InputError

if TYPE_CHECKING:
    from hotfill.stores.base import Metadata

ID, VERSION, SIDE = "_id", "_version", "_side"
"""Payload keys: the item's id, its content version, the fingerprint of where it is searched."""
_MADE_BY = "_made_by_"
_NAMESPACE = UUID("6f1f0a52-6a6c-5e0b-9f2c-7d0f3f4f9b11")
_LARGEST_NUMBER = 2**64 - 1


def made_by(space: str) -> str:
    """Return the payload key that names the transform behind the vector of a space."""
    return _MADE_BY + space


def path(key: str) -> str:
    """Return a metadata key as the engine wants it: in quotes a dot is part of the name."""
    return f'"{key}"'


@lru_cache(maxsize=100_000)  # ids come again in scan, embed, move; a hash each time is felt
def _hashed(item_id: str) -> str:
    return str(uuid5(_NAMESPACE, item_id))


def point_id(item_id: str, *, adopted: bool) -> int | str:
    """Return the engine's id of an item.

    In a gallery of our own it is made from the item's id, which stands in the payload. In an
    adopted collection the items are called what their points are called: numbers and UUIDs.
    """
    if not adopted:
        return _hashed(item_id)
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


def payload(item_id: str, version: int, side: str, metadata: Metadata) -> dict[str, Any]:
    """Put together what is stored with the vectors of an item whose content is new."""
    return {**metadata, ID: item_id, VERSION: version, SIDE: side}


def metadata_of(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the user's part of a payload, as far as it can be filtered by."""
    return {
        key: value
        for key, value in stored.items()
        if not key.startswith("_") and isinstance(value, (str, int, float, bool))
    }


def foreign(stored: dict[str, Any]) -> dict[str, Any]:
    """Return everything in a payload that hotfill did not put there."""
    return {
        key: value
        for key, value in stored.items()
        if key not in (ID, VERSION, SIDE) and not key.startswith(_MADE_BY)
    }
