"""What a gallery in PostgreSQL is: which table, which columns, which models. One row of JSON."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hotfill.errors import ConfigError, StoreError
from hotfill.types import ModelId

if TYPE_CHECKING:
    from hotfill.stores.postgres.wire import Kind

FORMAT = 1
VERSION, SPACE, ORIGIN = "hotfill_version", "hotfill_space", "hotfill_origin"
"""The columns that hotfill adds, apart from its vectors."""


@dataclass(frozen=True, slots=True)
class Space:
    """The vectors of one model. number: says in each row where it is searched; never reused."""

    model: ModelId
    number: int
    column: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Stamp:
    """A gallery, described.

    schema, table, id_column, id_type: where the items are. metadata_column: a jsonb column.
    spaces: oldest first. next_number: of the next space.
    prepared: whether the table has hotfill's own columns; one that was adopted has not, at first.
    counted: whether the table of counts is right; until then items are counted one by one.
    half: whether new vectors are kept with 16 bits for a number.
    revision: changes with every change of the others, so that nobody works by an old stamp.
    """

    schema: str
    table: str
    id_column: str
    id_type: str
    metadata_column: str | None
    spaces: tuple[Space, ...]
    next_number: int
    prepared: bool
    counted: bool
    half: bool
    revision: int = 1

    @property
    def models(self) -> tuple[ModelId, ...]:
        """The spaces' models, oldest first."""
        return tuple(space.model for space in self.spaces)

    @property
    def hash(self) -> str:
        """Eight characters of the table's name, for names that must be short."""
        return hashlib.sha256(self.table.encode()).hexdigest()[:8]

    def space(self, model: ModelId) -> Space:
        """Find the space of a model that is known to be there."""
        return next(space for space in self.spaces if space.model == model)

    def numbered(self, number: int) -> Space | None:
        """Find a space by its number."""
        return next((space for space in self.spaces if space.number == number), None)

    def with_space(self, model: ModelId) -> Stamp:
        """Return the stamp with one more space."""
        number = self.next_number
        fresh = Space(
            model, number, f"hotfill_vector_{number}", "halfvec" if self.half else "vector"
        )
        return replace(self, spaces=(*self.spaces, fresh), next_number=number + 1)

    def without_space(self, model: ModelId) -> Stamp:
        """Return the stamp with one space less."""
        return replace(self, spaces=tuple(s for s in self.spaces if s.model != model))

    def to_dict(self) -> dict[str, Any]:
        """Return what is kept as JSON: all but the table's name and the revision."""
        return {
            "format": FORMAT,
            "id_column": self.id_column,
            "id_type": self.id_type,
            "metadata_column": self.metadata_column,
            "spaces": [
                {
                    "model": space.model.to_dict(),
                    "number": space.number,
                    "column": space.column,
                    "kind": space.kind,
                }
                for space in self.spaces
            ],
            "next_number": self.next_number,
            "prepared": self.prepared,
            "counted": self.counted,
            "half": self.half,
        }

    @classmethod
    def from_dict(cls, schema: str, table: str, revision: int, values: dict[str, Any]) -> Stamp:
        """Read. Raises StoreError when this hotfill cannot understand it."""
        try:
            if values["format"] != FORMAT:
                raise StoreError(
                    f"{schema}.{table} has a stamp of format {values['format']!r}, this version of "
                    f"hotfill reads {FORMAT}: use the version that wrote it"
                )
            fields = {k: v for k, v in values.items() if k not in ("format", "spaces")}
            spaces = tuple(
                Space(**{**space, "model": ModelId.from_dict(space["model"])})
                for space in values["spaces"]
            )
            return cls(schema, table, spaces=spaces, revision=revision, **fields)
        except (KeyError, TypeError, ConfigError) as error:
            raise StoreError(
                f"the stamp of {schema}.{table} cannot be understood: {error}"
            ) from error
