"""How an item is kept as a point of the engine.

One point per item. Its id is made from the item's, which stands in the payload with the content
version and the user's metadata. Each space is a named vector, called by its fingerprint. A payload
key per space says which transform made that vector; without it the space's model did.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from hotfill.stores.base import ItemState

if TYPE_CHECKING:
    from hotfill.stores.base import Metadata
    from hotfill.types import ModelId

ID = "_id"
VERSION = "_version"
SIDE = "_side"  # where the item was searched when the shard was last rebuilt: a hint for layout
# The client turns a wanted True into 1 (0.9.0), which matches no boolean. So the names of what is
# true, and of what is false, are kept as texts too.
FLAGS = {True: "_true", False: "_false"}
_MADE_BY = "_made_by_"
_NAMESPACE = UUID("6f1f0a52-6a6c-5e0b-9f2c-7d0f3f4f9b11")


@lru_cache(maxsize=100_000)  # ids come again in scan, embed, move; a hash each time is felt
def point_id(item_id: str) -> UUID:
    """Return the engine's id of an item: the same in every process."""
    return uuid5(_NAMESPACE, item_id)


def made_by(space: str) -> str:
    """Return the payload key that names the transform behind the vector of a space."""
    return _MADE_BY + space


def payload(item_id: str, version: int, metadata: Metadata) -> dict[str, Any]:
    """Put together what is stored with the vector."""
    content: dict[str, Any] = {**metadata, ID: item_id, VERSION: version}
    for value, key in FLAGS.items():
        if names := [name for name, flag in metadata.items() if flag is value]:
            content[key] = names
    return content


def metadata_of(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the user's part of a payload."""
    return {key: value for key, value in stored.items() if not key.startswith("_")}


def state_of(item_id: str, stored: dict[str, Any], space: ModelId) -> ItemState:
    """Read an item's state from its payload and the side it is on."""
    return ItemState(
        item_id=item_id,
        version=stored[VERSION],
        space=space,
        origin=stored.get(made_by(space.fingerprint), space.fingerprint),
        metadata=metadata_of(stored),
    )


def makers_of(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a payload that says which transforms made the vectors."""
    return {key: value for key, value in stored.items() if key.startswith(_MADE_BY)}
