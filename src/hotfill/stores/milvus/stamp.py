"""What a gallery in Milvus is: which collections hold which models' vectors."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from hotfill.errors import ConfigError, StoreError
from hotfill.stores.base import check_space
from hotfill.types import ModelId

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class SpaceFields:
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
class MilvusStamp:
    """The spaces of a gallery, oldest first; next_number: of the space that comes next."""

    spaces: tuple[SpaceFields, ...]
    next_number: int

    @property
    def models(self) -> tuple[ModelId, ...]:
        """The spaces' models, oldest first."""
        return tuple(space.model for space in self.spaces)

    def space(self, model: ModelId) -> SpaceFields:
        """Find the space of a model. Raises ModelMismatchError: others may have dropped it."""
        check_space(self.models, model)
        return next(space for space in self.spaces if space.model == model)

    def with_space(self, model: ModelId, gallery: str) -> MilvusStamp:
        """Return the stamp with one more space, in a collection of our own."""
        fresh = SpaceFields(
            model,
            self.next_number,
            f"{gallery}_{self.next_number}_{model.fingerprint}",
            metric="L2" if model.metric == "l2" else "IP",  # cosine ones have unit length
        )
        return MilvusStamp((*self.spaces, fresh), self.next_number + 1)

    def with_adopted(self, space: SpaceFields, gallery: str) -> MilvusStamp:
        """Return the stamp of an adopted collection. Raises StoreError if there was another."""
        if not self.spaces:
            return MilvusStamp((space,), 2)
        if space.model not in self.models:
            held = ", ".join(map(str, self.models))
            raise StoreError(f"{gallery} is stamped already: it holds {held}; open it")
        return self

    def without_space(self, model: ModelId) -> MilvusStamp:
        """Return the stamp with one space less."""
        return replace(self, spaces=tuple(s for s in self.spaces if s.model != model))

    def to_json(self) -> str:
        """Write."""
        spaces = [{**asdict(s), "model": s.model.to_dict()} for s in self.spaces]
        return json.dumps({"format": _FORMAT, "spaces": spaces, "next_number": self.next_number})

    @classmethod
    def from_json(cls, text: str | None, gallery: str) -> MilvusStamp:
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
                SpaceFields(**{**space, "model": ModelId.from_dict(space["model"])})
                for space in values["spaces"]
            ]
            return cls(tuple(spaces), values["next_number"])
        except (ValueError, KeyError, TypeError, ConfigError) as error:
            raise StoreError(f"the stamp of {gallery} cannot be understood: {error}") from error
