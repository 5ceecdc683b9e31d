"""What a gallery in Chroma is: which collections hold which models' vectors.

The stamp is in the metadata of a collection without rows, so that an adopted collection itself says
nothing of hotfill. Collections are known by the ids that Chroma gives them: their names change when
one takes over the name of another.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from hotfill.errors import ConfigError, StoreError
from hotfill.stores.base import space_of, space_to_write
from hotfill.types import ModelId

if TYPE_CHECKING:
    from collections.abc import Sequence

_FORMAT = 1


def note_name(gallery: str) -> str:
    """Name the collection that holds the stamp of a gallery."""
    return f"{gallery}.hotfill"


def shadow_name(gallery: str, number: int) -> str:
    """Name the collection of a space that does not have the gallery's own name."""
    return f"{gallery}.hotfill.{number}"


def outgoing_name(gallery: str, number: int) -> str:
    """Name a collection that gave its name away, until it is dropped."""
    return f"{gallery}.hotfill.{number}.outgoing"


def kept_name(gallery: str, number: int) -> str:
    """Name the collection of a space's kept vectors."""
    return f"{gallery}.hotfill.{number}.kept"


@dataclass(frozen=True, slots=True)
class ChromaSpace:
    """The vectors of one model.

    number: of the space in its gallery; never used twice.
    collection: id of the collection of the items that are searched here.
    metric: by which it compares: "ip", "cosine" or "l2".
    adopted: whether the collection was there before hotfill, with vectors of any length.
    """

    model: ModelId
    number: int
    collection: str
    metric: str
    adopted: bool = False

    @property
    def keeps_length(self) -> bool:
        """Whether vectors of any length are compared as the model's own are: by the product."""
        return self.metric == "ip" or self.model.metric == "l2"


@dataclass(frozen=True, slots=True)
class ChromaStamp:
    """The spaces of a gallery, oldest first.

    next_number: of the space that comes next.
    dropped: spaces that are no longer of the gallery, but whose collections may still be there.
    writable: numbers of the spaces that take writes; None for all. revision: grows whenever that
        changes.
    """

    spaces: tuple[ChromaSpace, ...] = ()
    next_number: int = 1
    dropped: tuple[ChromaSpace, ...] = ()
    writable: tuple[int, ...] | None = None
    revision: int = 0

    @property
    def models(self) -> tuple[ModelId, ...]:
        """The spaces' models, oldest first."""
        return tuple(space.model for space in self.spaces)

    def space(self, model: ModelId) -> ChromaSpace:
        """Find the space of a model. Raises ModelMismatchError: others may have dropped it."""
        return space_of(self.spaces, model)

    def space_to_write(self, model: ModelId) -> ChromaSpace:
        """Find the space of a model, as `space` does. Raises ClosedSideError."""
        return space_to_write(self.spaces, model, self.writable, self.revision)

    @property
    def models_to_write(self) -> tuple[ModelId, ...]:
        """The models of the spaces that take writes."""
        writable = self.writable
        return tuple(s.model for s in self.spaces if writable is None or s.number in writable)

    def restricted(self, models: Sequence[ModelId]) -> ChromaStamp:
        """Return the stamp of a gallery in which only these spaces take writes; all for none."""
        numbers = tuple(space.number for space in self.spaces if space.model in models)
        return replace(self, writable=numbers or None, revision=self.revision + 1)

    def with_space(
        self, model: ModelId, collection: str, metric: str, *, adopted: bool = False
    ) -> ChromaStamp:
        """Return the stamp with one more space."""
        fresh = ChromaSpace(model, self.next_number, collection, metric, adopted)
        return replace(self, spaces=(*self.spaces, fresh), next_number=self.next_number + 1)

    def without(self, model: ModelId) -> ChromaStamp:
        """Return the stamp with one space less, whose collections are still to be dropped."""
        space = self.space(model)
        return replace(
            self,
            spaces=tuple(s for s in self.spaces if s != space),
            dropped=(*self.dropped, space),
        )

    def to_json(self) -> str:
        """Write."""
        return json.dumps(
            {
                "format": _FORMAT,
                "spaces": [_values(space) for space in self.spaces],
                "next_number": self.next_number,
                "dropped": [_values(space) for space in self.dropped],
                "writable": self.writable,
                "revision": self.revision,
            }
        )

    @classmethod
    def from_json(cls, text: str, gallery: str) -> ChromaStamp:
        """Read. Raises StoreError when this hotfill cannot understand it."""
        try:
            values: dict[str, Any] = json.loads(text)
            if values["format"] != _FORMAT:
                raise StoreError(
                    f"{gallery} has a stamp of format {values['format']!r}, this version of "
                    f"hotfill reads {_FORMAT}: use the version that wrote it"
                )
            writable = values.get("writable")
            return cls(
                tuple(_space(each) for each in values["spaces"]),
                int(values["next_number"]),
                tuple(_space(each) for each in values["dropped"]),
                None if writable is None else tuple(writable),
                int(values.get("revision", 0)),
            )
        except (ValueError, KeyError, TypeError, ConfigError) as error:
            raise StoreError(f"the stamp of {gallery} cannot be understood: {error}") from error


def _values(space: ChromaSpace) -> dict[str, Any]:
    return {**asdict(space), "model": space.model.to_dict()}


def _space(values: dict[str, Any]) -> ChromaSpace:
    return ChromaSpace(**{**values, "model": ModelId.from_dict(values["model"])})


def metrics_of(model: ModelId) -> tuple[str, ...]:
    """Return by which of Chroma's metrics a model's vectors may be compared, the best first.

    Vectors of unit length are in the same order by all three.
    """
    if model.metric == "cosine":
        return ("ip", "cosine", "l2") if model.normalised else ("cosine",)
    return ("l2",) if model.metric == "l2" else ("ip",)
