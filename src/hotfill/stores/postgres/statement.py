"""A statement of a gallery: one, so that it sees and leaves one moment.

Every statement looks at the stamp's revision too. Another process may have added or dropped a space
since this one read the stamp; then the statement writes nothing and is built again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg import sql

from hotfill.stores.postgres import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.stores.postgres.stamp import Stamp


@dataclass(frozen=True, slots=True)
class Statement:
    """What to ask: rows, and what must happen first. order: of the rows, by their columns.

    steps: common table expressions, each after a comma; those that write join `stamp`, which is
    empty when the revision is another one.
    """

    rows: sql.Composable
    values: Mapping[str, Any] = field(default_factory=dict)
    steps: sql.Composable | None = None
    order: str = ""

    def whole(self, stamp: Stamp) -> tuple[sql.Composed, dict[str, Any]]:
        """Return the text, which gives the revision and then the row, and the values."""
        text = sql.SQL(
            "WITH now AS MATERIALIZED "
            "(SELECT revision FROM {galleries} WHERE table_name = %(table)s), "
            "stamp AS (SELECT FROM now WHERE revision = %(revision)s){steps} "
            "SELECT now.revision, r.* FROM now LEFT JOIN ({rows}) r ON true {order}"
        ).format(
            galleries=names.galleries(stamp.schema),
            steps=self.steps or sql.SQL(""),
            rows=self.rows,
            order=sql.SQL(self.order),
        )
        return text, {**self.values, "table": stamp.table, "revision": stamp.revision}


def parts_of(stamp: Stamp) -> dict[str, sql.Composable]:
    """Return what statements are put together from, by name."""
    return {
        "items": names.items(stamp),
        "key": sql.Identifier(stamp.id_column),
        "type": sql.SQL(stamp.id_type),
        "id": names.item_id(stamp),
        "version": names.version(stamp),
        "space": names.space_number(stamp),
        "origin": names.origin(stamp),
        "item": names.is_item(stamp),
    }
