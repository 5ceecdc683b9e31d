"""The names of hotfill's own things in a database, quoted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from hotfill.errors import ConfigError
from hotfill.stores.postgres.stamp import ORIGIN, SPACE, VERSION

if TYPE_CHECKING:
    from hotfill.stores.postgres.stamp import Space, Stamp

_LONGEST = 63  # bytes of a name; PostgreSQL cuts longer ones, silently


def check_name(what: str, name: str) -> None:
    """Raise ConfigError unless a name means the same to PostgreSQL as to us."""
    if not name or len(name.encode(errors="replace")) > _LONGEST or set(name) & set("%\0"):
        raise ConfigError(
            f"{what} must be a name of 1 to {_LONGEST} bytes without % signs, got {name!r}"
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


def items(stamp: Stamp) -> sql.Identifier:
    """The table of items."""
    return sql.Identifier(stamp.schema, stamp.table)


def index(stamp: Stamp, space: Space) -> sql.Identifier:
    """The index of one side."""
    return sql.Identifier(stamp.schema, index_name(stamp, space))


def index_name(stamp: Stamp, space: Space) -> str:
    """The bare name of the index of one side."""
    return f"hotfill_{stamp.hash}_{space.number}_hnsw"


def function(stamp: Stamp, what: str) -> sql.Identifier:
    """A trigger's function."""
    return sql.Identifier(stamp.schema, f"hotfill_{stamp.hash}_{what}")


# Columns and conditions of the table of items, which every statement calls i ---------------------


def item_id(stamp: Stamp) -> sql.Composable:
    """The id as a text."""
    return sql.SQL("i.{}::text").format(sql.Identifier(stamp.id_column))


def version(stamp: Stamp) -> sql.Composable:
    """The content version; 0 for all items of a table that has none yet."""
    return sql.SQL("i.{}").format(sql.Identifier(VERSION)) if stamp.prepared else sql.SQL("0::int8")


def space_number(stamp: Stamp) -> sql.Composable:
    """The number of the space where an item is searched."""
    if stamp.prepared:
        return sql.SQL("i.{}").format(sql.Identifier(SPACE))
    return sql.Literal(stamp.spaces[0].number)


def origin(stamp: Stamp) -> sql.Composable:
    """What made the searched vector."""
    if stamp.prepared:
        return sql.SQL("i.{}").format(sql.Identifier(ORIGIN))
    return sql.Literal(stamp.spaces[0].model.fingerprint)


def searched_in(stamp: Stamp, space: Space, row: str = "i.") -> sql.Composable:
    """Match the items of one side. row: what to put before the names of columns.

    A row of an adopted table may have no vector yet; then it is no item.
    """
    there = sql.SQL(row + "{} IS NOT NULL").format(sql.Identifier(space.column))
    if not stamp.prepared:
        return there
    return sql.SQL(row + "{} = {} AND {}").format(
        sql.Identifier(SPACE), sql.Literal(space.number), there
    )


def is_item(stamp: Stamp, row: str = "i.") -> sql.Composable:
    """Match rows that are items: they have a vector where they are searched."""
    sides = [sql.SQL("({})").format(searched_in(stamp, space, row)) for space in stamp.spaces]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(sides)) if sides else sql.SQL("false")
