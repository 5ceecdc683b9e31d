"""The statements that read items."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from hotfill.stores.postgres import names
from hotfill.stores.postgres.statement import Statement, parts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.stores.postgres.stamp import Space, Stamp


def get(stamp: Stamp, item_ids: Sequence[str]) -> Statement:
    """Id, version, number of the space, origin and metadata of items."""
    metadata = sql.Identifier(stamp.metadata_column) if stamp.metadata_column else None
    return Statement(
        sql.SQL(
            "SELECT {id}, {version}, {space}, {origin}, {metadata} FROM {items} i "
            "WHERE i.{key} = ANY (%(ids)s::text[]::{type}[]) AND {item}"
        ).format(
            **parts_of(stamp),
            metadata=sql.SQL("i.{}").format(metadata) if metadata else sql.SQL("NULL::jsonb"),
        ),
        {"ids": list(item_ids)},
    )


def vectors(stamp: Stamp, space: Space, item_ids: Sequence[str]) -> Statement:
    """Id, version and vector of items that have one in a space."""
    return Statement(
        sql.SQL(
            "SELECT {id}, {version}, i.{column} FROM {items} i "
            "WHERE i.{key} = ANY (%(ids)s::text[]::{type}[]) AND i.{column} IS NOT NULL AND {item}"
        ).format(**parts_of(stamp), column=sql.Identifier(space.column)),
        {"ids": list(item_ids)},
    )


def scan(stamp: Stamp, space: Space, after: str | None, limit: int) -> Statement:
    """Place, id, version and origin of the next items of a side."""
    beyond = "AND i.{key} > %(after)s::text::{type} " if after is not None else ""
    return Statement(
        sql.SQL(
            "SELECT row_number() OVER (ORDER BY i.{key}) AS place, {id}, {version}, {origin} "
            "FROM {items} i WHERE {side} " + beyond + "ORDER BY i.{key} LIMIT %(limit)s"
        ).format(**parts_of(stamp), side=names.searched_in(stamp, space)),
        {"after": after, "limit": limit},
        order="ORDER BY r.place",
    )


def count(stamp: Stamp, space: Space, origin: str | None) -> Statement:
    """How many items a side holds."""
    if stamp.counted:
        made_by = "AND c.origin = %(origin)s" if origin is not None else ""
        rows = sql.SQL(
            "SELECT coalesce(sum(c.items), 0)::int8 FROM {counts} c "
            "WHERE c.table_name = %(table)s AND c.space = {number} " + made_by
        ).format(counts=names.counts(stamp.schema), number=sql.Literal(space.number))
    else:
        made_by = "AND {origin} = %(origin)s" if origin is not None else ""
        rows = sql.SQL("SELECT count(*) FROM {items} i WHERE {side} " + made_by).format(
            **parts_of(stamp), side=names.searched_in(stamp, space)
        )
    return Statement(rows, {"origin": origin})
