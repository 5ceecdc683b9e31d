"""Which collections of other people can be taken over unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_client import models

from hotfill.errors import StoreError
from hotfill.stores.qdrant.stamp import Space

if TYPE_CHECKING:
    from hotfill.types import ModelId


def look(
    config: models.CollectionConfig, name: str, model: ModelId, vector: str, added: int
) -> Space:
    """Return the space that a vector of a collection is. Raises StoreError when it does not fit."""
    params = config.params.vectors
    known = params if isinstance(params, dict) else {} if params is None else {"": params}
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
    return Space(model, vector, added, adopted=True)
