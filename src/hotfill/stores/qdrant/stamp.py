"""What a collection says of itself: which models' vectors it holds. Kept in its own metadata.

One entry for each space, because the engine merges metadata entry by entry: two processes that
add spaces at the same time do not undo each other's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qdrant_client import models

from hotfill.errors import ConfigError, StoreError
from hotfill.stores.base import space_of
from hotfill.types import ModelId

if TYPE_CHECKING:
    from collections.abc import Mapping

_MARK, _SPACE = "hotfill", "hotfill_space_"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class NamedVector:
    """The vectors of one model.

    vector: what the engine calls them; "" is its unnamed vector.
    added: when, in nanoseconds; tells older from newer.
    adopted: whether they were there before hotfill. Then points that say nothing are its items.
    """

    model: ModelId
    vector: str
    added: int
    adopted: bool = False

    @property
    def side(self) -> str:
        """How a point says that its item is searched here."""
        return self.model.fingerprint


@dataclass(frozen=True, slots=True)
class QdrantStamp:
    """The spaces of a collection, oldest first. adopted: whether others made its points."""

    spaces: tuple[NamedVector, ...]
    adopted: bool

    @property
    def models(self) -> tuple[ModelId, ...]:
        """The spaces' models, oldest first."""
        return tuple(space.model for space in self.spaces)

    def space(self, model: ModelId) -> NamedVector:
        """Find the space of a model. Raises ModelMismatchError: others may have dropped it."""
        return space_of(self.spaces, model)

    def without(self, model: ModelId) -> tuple[NamedVector, ...]:
        """Return the spaces but one."""
        return tuple(space for space in self.spaces if space.model != model)

    def searched(self, stored: Mapping[str, Any], side_key: str) -> NamedVector | None:
        """Tell where the item with this payload is searched; None if in no space known here."""
        side = stored.get(side_key)
        return next(
            (s for s in self.spaces if s.side == side or (side is None and s.adopted)), None
        )


def heading(*, adopted: bool) -> dict[str, Any]:
    """Return the entry that makes a collection a gallery."""
    return {_MARK: {"format": _FORMAT, "adopted": adopted}}


def entry(space: NamedVector) -> dict[str, Any]:
    """Return the entry of a space."""
    values = {
        "model": space.model.to_dict(),
        "vector": space.vector,
        "added": space.added,
        "adopted": space.adopted,
    }
    return {_SPACE + space.side: values}


def no_entry(space: NamedVector) -> dict[str, Any]:
    """Return what takes the entry of a space away: entries cannot be removed, only emptied."""
    return {_SPACE + space.side: None}


def read(metadata: Mapping[str, Any] | None, name: str) -> QdrantStamp | None:
    """Read a collection's metadata; None when it is no gallery. Raises StoreError if unreadable."""
    mark = (metadata or {}).get(_MARK)
    if metadata is None or mark is None:
        return None
    try:
        if mark["format"] != _FORMAT:
            raise StoreError(
                f"collection {name!r} has a stamp of format {mark['format']!r}, this version of "
                f"hotfill reads {_FORMAT}: use the version that wrote it"
            )
        spaces = [
            NamedVector(**{**values, "model": ModelId.from_dict(values["model"])})
            for key, values in metadata.items()
            if key.startswith(_SPACE) and values is not None
        ]
        return QdrantStamp(
            spaces=tuple(sorted(spaces, key=lambda space: space.added)), adopted=mark["adopted"]
        )
    except (KeyError, TypeError, ConfigError) as error:
        raise StoreError(f"the stamp of {name!r} cannot be understood: {error}") from error


def adopted_space(
    config: models.CollectionConfig, name: str, model: ModelId, vector: str | None, added: int
) -> NamedVector:
    """Return the space that a vector of a collection is. Raises StoreError when it does not fit.

    vector: None for the only one.
    """
    params = config.params.vectors
    known = params if isinstance(params, dict) else {} if params is None else {"": params}
    if vector is None and len(known) != 1:
        held = ", ".join(repr(key) for key in known) or "none"
        raise StoreError(
            f"collection {name!r} has {len(known)} vectors: say by --vector-column which of {held} "
            f"is of {model} ('' is the one without a name)"
        )
    vector = next(iter(known)) if vector is None else vector
    if vector not in known:
        held = ", ".join(repr(key) for key in known) or "none"
        raise StoreError(
            f"collection {name!r} has no vector called {vector!r}; it has {held} "
            "('' is the one without a name)"
        )
    found = known[vector]
    if found.multivector_config is not None:
        raise StoreError(f"collection {name!r}: {vector!r} keeps many vectors for a point, not one")
    if found.size != model.dimension:
        raise StoreError(
            f"collection {name!r}: {vector!r} holds vectors with {found.size} numbers, those of "
            f"{model} have {model.dimension}"
        )
    fitting = {
        "cosine": [models.Distance.COSINE, *([models.Distance.DOT] if model.normalised else [])],
        "dot": [models.Distance.DOT],
        "l2": [models.Distance.EUCLID],
    }[model.metric]
    if found.distance not in fitting:
        raise StoreError(
            f"collection {name!r} compares {vector!r} by {found.distance.value}; vectors of "
            f"{model} are compared by {model.metric}"
        )
    return NamedVector(model, vector, added, adopted=True)
