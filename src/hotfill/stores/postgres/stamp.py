"""What a gallery in PostgreSQL is: which table, columns and models, and the names of its things.

A `PostgresStamp` is one row of JSON in the table `hotfill_galleries` of the items' schema.
Conditions and columns call the table of items `i`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from psycopg import sql

from hotfill.errors import ConfigError, StoreError
from hotfill.stores.base import space_of, space_to_write
from hotfill.types import Metric, ModelId

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind: TypeAlias = Literal["vector", "halfvec"]
"""The two kinds of column: 32 or 16 bits for a number."""

Rows: TypeAlias = tuple[tuple[str, str], ...]
"""Which rows of a table are meant: columns and the values they must have; all when empty."""

FORMAT = 1
MOST_INDEXED = 4000
"""Dimensions for which pgvector 0.8 has an index, of 16 bits for a number."""
_MOST_INDEXED_WHOLE = 2000  # of 32 bits
_LONGEST = 63  # bytes of a name; PostgreSQL cuts longer ones, silently


@dataclass(frozen=True, slots=True)
class SpaceColumns:
    """The vectors of one model.

    number: says in each row where it is searched; never reused.
    adopted: whether the column was there before hotfill, and programs of others fill it.
    required: whether the column was NOT NULL before hotfill altered the table.
    """

    model: ModelId
    number: int
    column: str
    kind: Kind
    required: bool = False
    adopted: bool = False

    @property
    def comparison(self) -> Metric:
        """What the database compares by: hotfill fills its own columns with unit vectors.

        By the inner product these are ranked as by the cosine, and imputed ones by their length,
        too. The first space may be a column that others fill, and so is an adopted one.
        """
        ours = self.number > 1 and not self.adopted and self.model.metric == "cosine"
        return "dot" if ours else self.model.metric

    @property
    def indexed_as(self) -> Kind | None:
        """What an index casts the vectors to; None where it takes the column as it is.

        Too wide ones are kept with 16 bits for a number. A column of others may have no length,
        which an index needs; where it has one, PostgreSQL sees no cast at all.
        """
        if self.kind == "vector" and self.model.dimension > _MOST_INDEXED_WHOLE:
            return "halfvec"
        return self.kind if self.adopted else None

    @property
    def can_be_indexed(self) -> bool:
        """Whether pgvector has an index for its vectors."""
        return self.model.dimension <= MOST_INDEXED


@dataclass(frozen=True, slots=True)
class PostgresStamp:
    """A gallery, described.

    schema, table, id_column, id_type: where the items are. metadata_column: jsonb, or json.
    rows: which rows of the table are the gallery's, by columns and their values; all when empty.
    vector_column: the name by which programs of others know the vectors, of an adopted table. The
        column of the last space that is left takes it over.
    spaces: oldest first. next_number: of the next space.
    prepared: whether the table has hotfill's own columns; one that was adopted has not, at first.
    counted: whether the table of counts is right; until then items are counted one by one.
    half: whether new vectors are kept with 16 bits for a number.
    writable: numbers of the spaces that take writes; None for all.
    revision: changes with every change of the others, so that nobody works by an old stamp.
    Read from the database each time, not kept in the stamp: extension: the schema of pgvector;
    ids_given_out: whether only the table gives out ids (GENERATED ALWAYS AS IDENTITY).
    """

    schema: str
    table: str
    id_column: str
    id_type: str
    metadata_column: str | None
    spaces: tuple[SpaceColumns, ...]
    next_number: int
    prepared: bool
    counted: bool
    half: bool
    rows: Rows = ()
    vector_column: str | None = None
    writable: tuple[int, ...] | None = None
    revision: int = 1
    extension: str = "public"
    ids_given_out: bool = False

    @property
    def models(self) -> tuple[ModelId, ...]:
        """The spaces' models, oldest first."""
        return tuple(space.model for space in self.spaces)

    @property
    def key(self) -> str:
        """What tells the galleries of a schema apart: the table, and which of its rows."""
        return gallery_key(self.table, self.rows)

    @property
    def hash(self) -> str:
        """Eight characters of the key, for names that must be short."""
        return hashlib.sha256(self.key.encode()).hexdigest()[:8]

    @property
    def prefix(self) -> str:
        """What the names of hotfill's columns and triggers begin with, of this gallery's."""
        return f"hotfill_{self.hash}_" if self.rows else "hotfill_"

    @property
    def version_column(self) -> str:
        """The column of content versions."""
        return self.prefix + "version"

    @property
    def space_column(self) -> str:
        """The column that says where a row is searched."""
        return self.prefix + "space"

    @property
    def origin_column(self) -> str:
        """The column that says what made the searched vector."""
        return self.prefix + "origin"

    def space(self, model: ModelId) -> SpaceColumns:
        """Find the space of a model. Raises ModelMismatchError: others may have dropped it."""
        return space_of(self.spaces, model)

    def space_to_write(self, model: ModelId) -> SpaceColumns:
        """Find the space of a model, as `space` does. Raises ClosedSideError."""
        return space_to_write(self.spaces, model, self.writable, self.revision)

    @property
    def models_to_write(self) -> tuple[ModelId, ...]:
        """The models of the spaces that take writes."""
        writable = self.writable
        return tuple(s.model for s in self.spaces if writable is None or s.number in writable)

    def restricted(self, models: Sequence[ModelId]) -> PostgresStamp:
        """Return the stamp of a gallery in which only these spaces take writes; all for none."""
        numbers = tuple(space.number for space in self.spaces if space.model in models)
        return replace(self, writable=numbers or None)

    def numbered(self, number: int) -> SpaceColumns | None:
        """Find a space by its number."""
        return next((space for space in self.spaces if space.number == number), None)

    def with_space(self, model: ModelId) -> PostgresStamp:
        """Return the stamp with one more space."""
        number = self.next_number
        fresh = SpaceColumns(
            model, number, f"{self.prefix}vector_{number}", "halfvec" if self.half else "vector"
        )
        return replace(self, spaces=(*self.spaces, fresh), next_number=number + 1)

    def without_space(self, model: ModelId) -> PostgresStamp:
        """Return the stamp with one space less."""
        return replace(self, spaces=tuple(s for s in self.spaces if s.model != model))

    def heir_of(self, model: ModelId) -> SpaceColumns | None:
        """Return the space that takes over `vector_column` once a model's space is dropped.

        It does so when it is the only one left.
        """
        left = [space for space in self.spaces if space.model != model]
        if self.vector_column is None or len(left) != 1 or left[0].adopted:
            return None
        return left[0]

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
                    "required": space.required,
                    "adopted": space.adopted,
                }
                for space in self.spaces
            ],
            "next_number": self.next_number,
            "prepared": self.prepared,
            "counted": self.counted,
            "half": self.half,
            "rows": dict(self.rows),
            "vector_column": self.vector_column,
            "writable": self.writable,
        }

    @classmethod
    def from_dict(
        cls, schema: str, table: str, revision: int, values: dict[str, Any]
    ) -> PostgresStamp:
        """Read. Raises StoreError when this hotfill cannot understand it."""
        try:
            if values["format"] != FORMAT:
                raise StoreError(
                    f"{schema}.{table} has a stamp of format {values['format']!r}, this version of "
                    f"hotfill reads {FORMAT}: use the version that wrote it"
                )
            several = ("format", "spaces", "rows", "writable")
            fields = {k: v for k, v in values.items() if k not in several}
            spaces = tuple(
                SpaceColumns(**{**space, "model": ModelId.from_dict(space["model"])})
                for space in values["spaces"]
            )
            fields["rows"] = tuple(values["rows"].items())
            if (writable := values.get("writable")) is not None:
                fields["writable"] = tuple(writable)
            return cls(schema, table, spaces=spaces, revision=revision, **fields)
        except (KeyError, TypeError, ConfigError) as error:
            raise StoreError(
                f"the stamp of {schema}.{table} cannot be understood: {error}"
            ) from error

    # Names, quoted

    @property
    def items(self) -> sql.Identifier:
        """The table of items."""
        return sql.Identifier(self.schema, self.table)

    @property
    def galleries(self) -> sql.Identifier:
        """The table of stamps."""
        return galleries(self.schema)

    @property
    def counts(self) -> sql.Identifier:
        """The table of counts: rows to be added up."""
        return counts(self.schema)

    @property
    def versions(self) -> sql.Literal:
        """The sequence of content versions, as `nextval` takes it."""
        return sql.Literal(versions(self.schema).as_string())

    def type_of(self, kind: Kind) -> sql.Composable:
        """A type of pgvector, wherever the extension is installed."""
        return sql.Identifier(self.extension, kind)

    def operator(self, sign: str) -> sql.Composable:
        """An operator of pgvector, wherever the extension is installed."""
        return sql.SQL("OPERATOR({}.{})").format(sql.Identifier(self.extension), sql.SQL(sign))

    def index(self, space: SpaceColumns) -> str:
        """The bare name of the index of one side."""
        return f"hotfill_{self.hash}_{space.number}_{space.comparison}_hnsw"

    def function(self, what: str) -> sql.Identifier:
        """A trigger's function."""
        return sql.Identifier(self.schema, f"hotfill_{self.hash}_{what}")

    # Columns and conditions

    @property
    def item_id(self) -> sql.Composable:
        """The id as a text."""
        return sql.SQL("i.{}::text").format(sql.Identifier(self.id_column))

    @property
    def version(self) -> sql.Composable:
        """The content version; 0 for all items of a table that has none yet."""
        return _column(self.version_column) if self.prepared else sql.SQL("0::int8")

    @property
    def space_number(self) -> sql.Composable:
        """The number of the space where an item is searched."""
        if self.prepared:
            return _column(self.space_column)
        return sql.Literal(self.spaces[0].number)

    @property
    def origin(self) -> sql.Composable:
        """What made the searched vector."""
        if self.prepared:
            return _column(self.origin_column)
        return sql.Literal(self.spaces[0].model.fingerprint)

    def searched_in(self, space: SpaceColumns, row: str = "i.") -> sql.Composable:
        """Match the items of one side. row: what to put before the names of columns.

        A row of an adopted table may have no vector yet; then it is no item.
        """
        parts: list[sql.Composable] = []
        if self.prepared:
            parts.append(
                sql.SQL(row + "{} = {}").format(
                    sql.Identifier(self.space_column), sql.Literal(space.number)
                )
            )
        parts.append(sql.SQL(row + "{} IS NOT NULL").format(sql.Identifier(space.column)))
        if self.rows:
            parts.append(self.of_gallery(row))
        return sql.SQL(" AND ").join(parts)

    def of_gallery(self, row: str = "i.") -> sql.Composable:
        """Match the rows of the table that are the gallery's. row: as for `searched_in`."""
        if not self.rows:
            return sql.SQL("true")
        return sql.SQL(" AND ").join(
            sql.SQL(row + "{} = {}").format(sql.Identifier(column), sql.Literal(value))
            for column, value in self.rows
        )

    @property
    def is_item(self) -> sql.Composable:
        """Match rows that are items: they have a vector where they are searched."""
        sides = [sql.SQL("({})").format(self.searched_in(space)) for space in self.spaces]
        return sql.SQL("({})").format(sql.SQL(" OR ").join(sides)) if sides else sql.SQL("false")


def check_name(what: str, name: str) -> None:
    """Raise ConfigError unless a name means the same to PostgreSQL as to us."""
    if not name or len(name.encode(errors="replace")) > _LONGEST or set(name) & set("%\0"):
        raise ConfigError(
            f"{what} must be a name of 1 to {_LONGEST} bytes without % signs, got {name!r}"
        )


def gallery_key(table: str, rows: Rows) -> str:
    """Name a gallery among those of a schema: a whole table, or some of its rows."""
    return ":".join([table, *(f"{column}={value}" for column, value in rows)])


def check_known(stamp: PostgresStamp | None, schema: str, table: str) -> PostgresStamp:
    """Return a stamp. Raises StoreError where there is none."""
    if stamp is None:
        raise StoreError(
            f"{schema}.{table} is not a hotfill gallery: adopt the table, or create a gallery"
        )
    return stamp


def check_prepared(stamp: PostgresStamp) -> None:
    """Raise StoreError for an adopted table to which hotfill has added nothing yet."""
    if not stamp.prepared:
        raise StoreError(
            f"{stamp.schema}.{stamp.table} was adopted and is still as it was: it can be read and "
            "searched; add_space of another model adds what writing needs"
        )


def galleries(schema: str) -> sql.Identifier:
    """The table of stamps, one row for each gallery of a schema."""
    return sql.Identifier(schema, "hotfill_galleries")


def counts(schema: str) -> sql.Identifier:
    """The table of counts: rows to be added up."""
    return sql.Identifier(schema, "hotfill_counts")


def versions(schema: str) -> sql.Identifier:
    """The sequence of content versions."""
    return sql.Identifier(schema, "hotfill_versions")


def _column(name: str) -> sql.Composable:
    return sql.SQL("i.{}").format(sql.Identifier(name))
