"""What a gallery in Milvus is: which collections hold which models' vectors.

`look` tells whether a collection of other people can be taken over.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from pymilvus import DataType

from hotfill.errors import ConfigError, StoreError
from hotfill.types import ModelId

if TYPE_CHECKING:
    from hotfill.stores.milvus.server import Server


_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Space:
    """The vectors of one model, in a collection of their own.

    number: of the space in its gallery; never used twice. Names its kept old vectors.
    collection, key, vector: what the collection, its primary key and its vectors are called.
    metric: by which the server compares: "IP", "COSINE" or "L2".
    adopted: whether the collection was there before hotfill. Then what hotfill notes about a row is
        in dynamic fields; number_ids: and whether its primary key is a whole number.
    """

    model: ModelId
    number: int
    collection: str
    key: str = "id"
    vector: str = "vector"
    metric: str = "IP"
    adopted: bool = False
    number_ids: bool = False


@dataclass(frozen=True, slots=True)
class Stamp:
    """The spaces of a gallery, oldest first; next_number: of the space that comes next."""

    spaces: tuple[Space, ...]
    next_number: int

    @property
    def models(self) -> tuple[ModelId, ...]:
        """The spaces' models, oldest first."""
        return tuple(space.model for space in self.spaces)

    def space(self, model: ModelId) -> Space:
        """Find the space of a model that is known to be there."""
        return next(space for space in self.spaces if space.model == model)

    def with_space(self, model: ModelId, gallery: str) -> Stamp:
        """Return the stamp with one more space, in a collection of our own."""
        fresh = Space(
            model,
            self.next_number,
            f"{gallery}_{self.next_number}_{model.fingerprint}",
            metric="L2" if model.metric == "l2" else "IP",  # cosine ones have unit length
        )
        return Stamp((*self.spaces, fresh), self.next_number + 1)

    def with_adopted(self, space: Space, gallery: str) -> Stamp:
        """Return the stamp of an adopted collection. Raises StoreError if there was another."""
        if not self.spaces:
            return Stamp((space,), 2)
        if space.model not in self.models:
            held = ", ".join(map(str, self.models))
            raise StoreError(f"{gallery} is stamped already: it holds {held}; open it")
        return self

    def without_space(self, model: ModelId) -> Stamp:
        """Return the stamp with one space less."""
        return replace(self, spaces=tuple(s for s in self.spaces if s.model != model))

    def to_json(self) -> str:
        """Write."""
        spaces = [{**asdict(s), "model": s.model.to_dict()} for s in self.spaces]
        return json.dumps({"format": _FORMAT, "spaces": spaces, "next_number": self.next_number})

    @classmethod
    def from_json(cls, text: str | None, gallery: str) -> Stamp:
        """Read; None of a new gallery. Raises StoreError when this hotfill cannot understand it."""
        if text is None:
            return cls((), 1)
        try:
            values: dict[str, Any] = json.loads(text)
            if values["format"] != _FORMAT:
                raise StoreError(
                    f"{gallery} has a stamp of format {values['format']!r}, this version of "
                    f"hotfill reads {_FORMAT}: use the version that wrote it"
                )
            spaces = [
                Space(**{**space, "model": ModelId.from_dict(space["model"])})
                for space in values["spaces"]
            ]
            return cls(tuple(spaces), values["next_number"])
        except (ValueError, KeyError, TypeError, ConfigError) as error:
            raise StoreError(f"the stamp of {gallery} cannot be understood: {error}") from error


def look(server: Server, collection: str, model: ModelId, vector: str) -> Space:
    """Return the space that a collection is. Raises StoreError naming what does not fit."""
    description = server.describe(collection)
    if description is None:
        raise StoreError(f"there is no collection {collection!r}")
    fields = {field["name"]: field for field in description["fields"]}
    key = next(field for field in fields.values() if field.get("is_primary"))
    if description.get("auto_id") or key.get("auto_id"):
        raise StoreError(
            f"collection {collection!r}: the server gives out its primary keys, so that hotfill "
            "could not write an item back under its own"
        )
    if fields.get(vector, {}).get("type") != DataType.FLOAT_VECTOR:
        held = [n for n, field in fields.items() if field["type"] == DataType.FLOAT_VECTOR]
        raise StoreError(
            f"collection {collection!r} has no field of float vectors called {vector!r}; it has "
            f"{', '.join(held) or 'none'}"
        )
    others = [name for name in fields if name not in (key["name"], vector)]
    if others or not description.get("enable_dynamic_field"):
        raise StoreError(
            f"collection {collection!r}: hotfill takes over collections with a primary key, one "
            "vector and dynamic fields, in which its notes have room (what "
            "`MilvusClient.create_collection(name, dimension)` makes); this one has "
            f"{', '.join(others) or 'no'} further fields and "
            f"{'' if description.get('enable_dynamic_field') else 'no '}dynamic ones: copy it into "
            "a gallery of hotfill's own instead"
        )
    dimension = int(fields[vector]["params"]["dim"])
    if dimension != model.dimension:
        raise StoreError(
            f"collection {collection!r}: {vector!r} holds vectors with {dimension} numbers, those "
            f"of {model} have {model.dimension}"
        )
    return Space(
        model,
        1,
        collection,
        key=key["name"],
        vector=vector,
        metric=_metric(server, collection, vector, model),
        adopted=True,
        number_ids=key["type"] == DataType.INT64,
    )


def _metric(server: Server, collection: str, vector: str, model: ModelId) -> str:
    fitting = {
        "cosine": ["COSINE", *(["IP"] if model.normalised else [])],
        "dot": ["IP"],
        "l2": ["L2"],
    }[model.metric]

    def read(client: Any) -> dict[str, Any]:
        names = client.list_indexes(collection, field_name=vector)
        return dict(client.describe_index(collection, names[0])) if names else {}

    found = str(server.call("read an index", read).get("metric_type", ""))
    if found not in fitting:
        raise StoreError(
            f"collection {collection!r}: {vector!r} is indexed for the metric {found or 'none'}, "
            f"vectors of {model} are compared by {model.metric} ({' or '.join(fitting)})"
        )
    return found
