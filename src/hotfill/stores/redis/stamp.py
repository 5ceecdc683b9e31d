"""What a gallery in Redis is: which fields and indexes hold which models' vectors."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from hotfill.errors import ConfigError, StoreError
from hotfill.stores.base import space_of, space_to_write
from hotfill.types import ModelId

if TYPE_CHECKING:
    from collections.abc import Sequence

_FORMAT = 1
OWN = "hotfill_"
"""What the names of hotfill's own fields in a document begin with."""


@dataclass(frozen=True, slots=True)
class SpaceIndex:
    """The vectors of one model.

    number: of the space in its gallery; never used twice.
    index: of the query engine, over the documents whose items are searched here.
    field: of a hash, or path of a JSON document, where such a vector stands.
    attribute: what the index calls it. metric: "IP", "COSINE" or "L2". graph: whether the index is
        HNSW rather than FLAT.
    """

    model: ModelId
    number: int
    index: str
    field: str
    attribute: str
    metric: str
    graph: bool

    @property
    def side(self) -> str:
        """How a document says that its item is searched here."""
        return f"s{self.number}"


@dataclass(frozen=True, slots=True)
class Attribute:
    """What an adopted index can filter by. field: of a hash, or path of a JSON document."""

    name: str
    field: str
    kind: str
    separator: str = ""
    exact_case: bool = False


@dataclass(frozen=True, slots=True)
class Base:
    """Vectors of documents that others write: those that say nothing are items with these.

    ours: whether hotfill gave the field its name. The vectors that were adopted stay in documents
    whose items have moved on; ours go, like those of other spaces.
    """

    field: str
    number: int
    dimension: int
    ours: bool = False


@dataclass(frozen=True, slots=True)
class RedisStamp:
    """The spaces of a gallery, oldest first, and how its documents are kept.

    name: of the gallery; of the index, where it was adopted. prefix: of the documents' keys.
    epoch: grows with every change of the stamp. next_number: of the space that comes next.
    base: None in a gallery of our own. prepared: whether the base has an index that leaves out
        documents of other sides; before, the adopted index itself is searched.
    attributes: what of the adopted index can be copied into ours. hidden: fields that hold vectors.
    dropped: numbers of spaces that are gone, but for kept vectors still to be removed.
    writable: numbers of the spaces that take writes; None for all.
    """

    name: str
    documents: Literal["hash", "json"]
    prefix: str
    spaces: tuple[SpaceIndex, ...] = ()
    epoch: int = 0
    next_number: int = 1
    base: Base | None = None
    prepared: bool = True
    attributes: tuple[Attribute, ...] = ()
    hidden: tuple[str, ...] = ()
    dropped: tuple[int, ...] = ()
    writable: tuple[int, ...] | None = None

    @property
    def models(self) -> tuple[ModelId, ...]:
        """The spaces' models, oldest first."""
        return tuple(space.model for space in self.spaces)

    @property
    def adopted(self) -> bool:
        """Whether others made the documents."""
        return self.base is not None

    def space(self, model: ModelId) -> SpaceIndex:
        """Find the space of a model. Raises ModelMismatchError: others may have dropped it."""
        return space_of(self.spaces, model)

    def space_to_write(self, model: ModelId) -> SpaceIndex:
        """Find the space of a model, as `space` does. Raises ClosedSideError."""
        return space_to_write(self.spaces, model, self.writable, self.epoch)

    def on(self, side: str) -> SpaceIndex | None:
        """Find the space that a document names; None if there is none (any more)."""
        return next((space for space in self.spaces if space.side == side), None)

    def is_base(self, space: SpaceIndex) -> bool:
        """Tell whether documents that say nothing are items of a space."""
        return self.base is not None and self.base.number == space.number

    def stays(self, space: SpaceIndex) -> bool:
        """Tell whether vectors of a space stay in documents whose items have moved on."""
        return self.base is not None and self.is_base(space) and not self.base.ours

    def key(self, item_id: str) -> str:
        """Return the key of an item's document."""
        return self.prefix + item_id

    def with_space(self, model: ModelId, *, graph: bool) -> RedisStamp:
        """Return the stamp with one more space, in a field and an index of our own."""
        name = f"{OWN}v{self.next_number}"
        fresh = SpaceIndex(
            model,
            self.next_number,
            self._new_index(self.next_number),
            name if self.documents == "hash" else f"$.{name}",
            name,
            "L2" if model.metric == "l2" else "IP",  # cosine ones have unit length
            graph,
        )
        return replace(
            self,
            spaces=(*self.spaces, fresh),
            epoch=self.epoch + 1,
            next_number=self.next_number + 1,
        )

    def with_prepared_base(self) -> RedisStamp:
        """Return the stamp with an index of our own over the adopted vectors."""
        base, *others = self.spaces
        own = replace(base, index=self._new_index(base.number), attribute=f"{OWN}v{base.number}")
        return replace(self, spaces=(own, *others), prepared=True)

    def without_space(self, model: ModelId) -> RedisStamp:
        """Return the stamp with one space less.

        What others write is of the newest space, once that of the adopted vectors is gone.
        """
        gone = self.space(model)
        spaces, base = tuple(space for space in self.spaces if space != gone), self.base
        if self.is_base(gone) and spaces:
            newest = spaces[-1]
            base = Base(newest.field, newest.number, newest.model.dimension, ours=True)
        return replace(
            self,
            spaces=spaces,
            base=base,
            epoch=self.epoch + 1,
            dropped=(*self.dropped, gone.number),
        )

    @property
    def models_to_write(self) -> tuple[ModelId, ...]:
        """The models of the spaces that take writes."""
        writable = self.writable
        return tuple(s.model for s in self.spaces if writable is None or s.number in writable)

    def restricted(self, models: Sequence[ModelId]) -> RedisStamp:
        """Return the stamp of a gallery in which only these spaces take writes; all for none."""
        numbers = tuple(space.number for space in self.spaces if space.model in models)
        return replace(self, writable=numbers or None, epoch=self.epoch + 1)

    def swept(self) -> RedisStamp:
        """Return the stamp of a gallery without leftovers."""
        return replace(self, dropped=(), epoch=self.epoch + 1)

    def stray_indexes(self, names: list[str]) -> list[str]:
        """Pick the indexes that a process made for this gallery and did not live to stamp.

        Those of the present epoch may be in the making.
        """
        known = {space.index for space in self.spaces}
        ours = re.compile(re.escape(f"hotfill:{self.name}:") + r"([0-9]+)\.[0-9]+\.[0-9a-f]{8}")
        made = ((name, ours.fullmatch(name)) for name in names if name not in known)
        return [name for name, ours_is in made if ours_is and int(ours_is[1]) < self.epoch]

    def _new_index(self, number: int) -> str:
        return f"hotfill:{self.name}:{self.epoch}.{number}.{secrets.token_hex(4)}"

    def to_json(self) -> str:
        """Write."""
        spaces = [{**asdict(space), "model": space.model.to_dict()} for space in self.spaces]
        return json.dumps({**asdict(self), "spaces": spaces, "format": _FORMAT})

    @classmethod
    def from_json(cls, text: str, name: str) -> RedisStamp:
        """Read. Raises StoreError when this hotfill cannot understand it."""
        try:
            values: dict[str, Any] = json.loads(text)
            if (found := values.pop("format")) != _FORMAT:
                raise StoreError(
                    f"{name} has a stamp of format {found!r}, this version of hotfill reads "
                    f"{_FORMAT}: use the version that wrote it"
                )
            values["spaces"] = tuple(
                SpaceIndex(**{**space, "model": ModelId.from_dict(space["model"])})
                for space in values["spaces"]
            )
            values["base"] = None if values["base"] is None else Base(**values["base"])
            values["attributes"] = tuple(Attribute(**each) for each in values["attributes"])
            values["hidden"], values["dropped"] = tuple(values["hidden"]), tuple(values["dropped"])
            if (writable := values.get("writable")) is not None:
                values["writable"] = tuple(writable)
            return cls(**values)
        except (ValueError, KeyError, TypeError, ConfigError) as error:
            raise StoreError(f"the stamp of {name} cannot be understood: {error}") from error
