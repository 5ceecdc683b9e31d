"""What a gallery in Milvus is: which collections hold which models' vectors."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from hotfill.errors import ConfigError, StoreError
from hotfill.stores.base import space_of
from hotfill.types import ModelId

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class SpaceFields:
    """The vectors of one model, in a collection of their own.

    number: of the space in its gallery; never used twice. Names its kept old vectors.
    collection, key, vector: what the collection, its primary key and its vectors are called.
    metric: by which the server compares: "IP", "COSINE" or "L2".
    adopted: whether the collection was there before hotfill, or is like one that was. Then what
        hotfill notes about a row is in dynamic fields; number_ids: and whether its primary key is a
        whole number; bare: and whether it has no dynamic fields, so that nothing is noted.
    was: the collection's name before it takes the place of an adopted one, or its own; empty once
        that is done, and no row holds notes that nobody needs any more.
    """

    model: ModelId
    number: int
    collection: str
    key: str = "id"
    vector: str = "vector"
    metric: str = "IP"
    adopted: bool = False
    number_ids: bool = False
    bare: bool = False
    was: str = ""


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
        return space_of(self.spaces, model)

    def with_space(self, model: ModelId, gallery: str) -> MilvusStamp:
        """Return the stamp with one more space, in a collection like the one before, or our own."""
        collection = f"{gallery}_{self.next_number}_{model.fingerprint}"
        if self.spaces and self.spaces[-1].adopted:
            before, allowed = self.spaces[-1], metrics_of(model)
            fresh = replace(
                before,
                model=model,
                number=self.next_number,
                collection=collection,
                metric=before.metric if before.metric in allowed else allowed[0],
                bare=False,
                was="",
            )
        else:
            # Vectors that the cosine compares have unit length in a collection of our own.
            metric = "L2" if model.metric == "l2" else "IP"
            fresh = SpaceFields(model, self.next_number, collection, metric=metric)
        return MilvusStamp((*self.spaces, fresh), self.next_number + 1)

    def with_adopted(self, space: SpaceFields, gallery: str) -> MilvusStamp:
        """Return the stamp of an adopted collection. Raises StoreError if there was another."""
        if not self.spaces:
            return MilvusStamp((space,), 2)
        if space.model not in self.models:
            held = ", ".join(map(str, self.models))
            raise StoreError(f"{gallery} is stamped already: it holds {held}; open it")
        return self

    def without_space(self, model: ModelId, gallery: str) -> MilvusStamp:
        """Return the stamp with one space less.

        An adopted one that is left alone is to have the gallery's name.
        """
        left = tuple(space for space in self.spaces if space.model != model)
        if len(left) == 1 and left[0].adopted:
            left = (replace(left[0], collection=gallery, was=left[0].collection),)
        return replace(self, spaces=left)

    def settled(self) -> MilvusStamp:
        """Return the stamp when every collection has its name."""
        return replace(self, spaces=tuple(replace(space, was="") for space in self.spaces))

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


def metrics_of(model: ModelId) -> tuple[str, ...]:
    """Return the metrics by which a collection may compare a model's vectors, the best first.

    Of vectors of unit length the distance makes the same order as the cosine.
    """
    if model.metric == "cosine":
        return ("COSINE", "IP", "L2") if model.normalised else ("COSINE",)
    return ("L2",) if model.metric == "l2" else ("IP",)
