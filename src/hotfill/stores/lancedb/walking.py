"""Walks through a side in the order of ids.

The engine finds the next ids in order by looking at all of them. So one look serves many pages: it
takes the next ids of the side, and each page then reads the rows of its own few, as of
then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotfill.errors import InputError
from hotfill.extras import need
from hotfill.stores.base import Page
from hotfill.stores.lancedb.conditions import after_sql, is_number
from hotfill.stores.lancedb.failures import translated
from hotfill.stores.lancedb.layout import OWN

if TYPE_CHECKING:
    from hotfill.stores.lancedb.reading import Snapshot
    from hotfill.types import ModelId

_AHEAD = 100_000  # ids kept in memory


class Walk:
    """The ids that come next in the walk that was looked at last. Stores hold their lock."""

    def __init__(self) -> None:
        self._space: ModelId | None = None
        self._after: str | None = None  # where the first of the ids follows
        self._ids: list[str] = []
        self._more = False  # whether ids follow after the last one

    def page(self, snapshot: Snapshot, space: ModelId, after: str | None, limit: int) -> Page:
        """List the next items, in the order of ids."""
        layout = snapshot.layout
        if after is not None and layout.ids_are_numbers and not is_number(after):
            raise InputError(f"after: {after!r} is not a cursor that scan returned")
        known = after is not None and after == self._after and space == self._space
        if not known or (len(self._ids) < limit and self._more):
            self._look(snapshot, space, after, max(limit, _AHEAD))
        ids, self._ids = self._ids[:limit], self._ids[limit:]
        self._after = ids[-1] if ids else after
        ended = not self._ids and not self._more
        rows = snapshot.rows(
            ids, [layout.item_id, *(OWN if layout.prepared else ())], layout.side(space)
        )
        places = snapshot.places(rows)
        there = [item_id for item_id in ids if item_id in places]
        order = [places[item_id] for item_id in there]
        versions, _, origins = snapshot.own_columns(rows)
        return Page(
            item_ids=tuple(there),
            versions=versions[order],
            origins=tuple(origins[order].tolist()),
            cursor=None if ended else self._after,
        )

    def _look(self, snapshot: Snapshot, space: ModelId, after: str | None, n: int) -> None:
        ordering = need("lancedb.query", "lancedb").ColumnOrdering
        layout = snapshot.layout
        condition = layout.side(space)
        if after is not None:
            condition = f"({condition}) AND {after_sql(layout, after)}"
        by_id = ordering(column_name=layout.item_id, ascending=True, nulls_first=False)
        with translated("list items"):
            query = snapshot.table.search().where(condition).select([layout.item_id])
            rows = query.order_by([by_id]).limit(n).to_arrow()
        self._space, self._after = space, after
        self._ids = [str(item_id) for item_id in rows.column(layout.item_id).to_pylist()]
        self._more = len(self._ids) == n
