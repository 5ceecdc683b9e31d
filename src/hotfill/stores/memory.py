"""The reference store: numpy arrays, exact search, one lock. For tests, rehearsals, small sets."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.checks import check_ids
from hotfill.stores.base import Capabilities, Found, Gallery, Hits, ItemState, Page
from hotfill.stores.filters import check_metadata, matches
from hotfill.stores.inputs import (
    check_limit,
    check_move,
    check_search,
    check_space,
    check_unsearched,
    check_upsert,
)
from hotfill.stores.rows import Rows, best
from hotfill.stores.versions import VersionClock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata, Where
    from hotfill.types import Metric, ModelId, Vectors


class MemoryGallery(Gallery):
    """A gallery in this process's memory: exact, and gone with the process.

    Every call holds one lock from beginning to end, so each sees and leaves one moment. Other
    stores are tested to give the same answers as this one.
    """

    def __init__(self, model: ModelId | None = None) -> None:
        """Start empty. model: the first space, if any."""
        self._lock = RLock()
        self._clock = VersionClock()
        self._items: dict[str, _Item] = {}
        self._sides: dict[ModelId, Rows] = {}
        self._sorted_ids: list[str] | None = []  # None: to be sorted again by the next scan
        if model is not None:
            self.add_space(model)

    @property
    def capabilities(self) -> Capabilities:
        """Whole batches move at once, searches see one moment, one process."""
        return Capabilities(atomic_move=True, snapshot_reads=True, many_processes=False)

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        with self._lock:
            return tuple(self._sides)

    def add_space(self, model: ModelId) -> None:
        """Make room for a model's vectors."""
        with self._lock:
            self._sides.setdefault(model, Rows(model.dimension))

    def drop_space(self, model: ModelId) -> None:
        """Remove an unsearched space with its retired vectors."""
        with self._lock:
            if model not in self._sides:
                return
            check_unsearched(model, len(self._sides[model].ids))
            del self._sides[model]
            for item in self._items.values():
                item.retired.pop(model, None)

    def upsert(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        *,
        space: ModelId,
        metadata: Sequence[Metadata] | None = None,
        retired: Mapping[ModelId, Vectors] | None = None,
    ) -> NDArray[np.int64]:
        """Write items with new content."""
        with self._lock:
            rows, old_rows = check_upsert(self.spaces, item_ids, vectors, space, metadata, retired)
            versions = self._clock.take(len(item_ids))
            for i, item_id in enumerate(item_ids):
                before = self._items.get(item_id)
                if before is None:
                    self._sorted_ids = None
                elif before.space != space:
                    self._sides[before.space].remove(item_id)
                kept = {} if before is None else before.metadata
                self._sides[space].put(item_id, rows[i])
                self._items[item_id] = _Item(
                    version=int(versions[i]),
                    space=space,
                    origin=space.fingerprint,
                    metadata=kept if metadata is None else dict(metadata[i]),
                    retired={model: kind[i].copy() for model, kind in old_rows.items()},
                )
            return versions

    def set_metadata(self, item_ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist."""
        check_ids(item_ids)
        check_metadata(metadata, len(item_ids))
        with self._lock:
            for item_id, row in zip(item_ids, metadata, strict=True):
                if item_id in self._items:
                    self._items[item_id].metadata = dict(row)

    def delete(self, item_ids: Sequence[str]) -> int:
        """Remove items from every space."""
        check_ids(item_ids)
        with self._lock:
            there = [item_id for item_id in item_ids if item_id in self._items]
            for item_id in there:
                self._sides[self._items.pop(item_id).space].remove(item_id)
            if there:
                self._sorted_ids = None
            return len(there)

    def move(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        *,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str | None = None,
    ) -> NDArray[np.bool_]:
        """Let items be searched in `space`; their earlier vector is retired."""
        origin = origin or space.fingerprint
        with self._lock:
            rows, versions = check_move(self.spaces, item_ids, vectors, space, expected_versions)
            moved = np.zeros(len(item_ids), dtype=np.bool_)
            for i, item_id in enumerate(item_ids):
                item = self._items.get(item_id)
                if item is None or item.version != versions[i]:
                    continue
                if item.space == space and item.origin == space.fingerprint != origin:
                    continue  # the model's own vector is better than any transform's
                if item.space != space:
                    item.retired[item.space] = self._sides[item.space].remove(item_id)
                    item.retired.pop(space, None)
                self._sides[space].put(item_id, rows[i])
                item.space, item.origin = space, origin
                moved[i] = True
            return moved

    def search(
        self, queries: Mapping[ModelId, Vectors], k: int, *, where: Where | None = None
    ) -> dict[ModelId, Hits]:
        """Compare the queries with every item of each side."""
        with self._lock:
            ready = check_search(self.spaces, queries, k, where)
            return {space: self._search_side(space, ready[space], k, where) for space in ready}

    def _search_side(self, space: ModelId, queries: Vectors, k: int, where: Where | None) -> Hits:
        side = self._sides[space]
        ids, rows = side.ids, side.filled
        if where is not None:
            passing = [
                i for i, name in enumerate(ids) if matches(self._items[name].metadata, where)
            ]
            ids, rows = [ids[i] for i in passing], rows[passing]
        scores = _scores(queries, rows, space.metric)
        orders = [best(row, k) for row in scores]
        return Hits(
            item_ids=tuple(tuple(ids[i] for i in order) for order in orders),
            scores=tuple(row[order] for row, order in zip(scores, orders, strict=True)),
        )

    def get(self, item_ids: Sequence[str]) -> list[ItemState | None]:
        """Read the state of items."""
        with self._lock:
            return [self._state(item_id) for item_id in item_ids]

    def _state(self, item_id: str) -> ItemState | None:
        item = self._items.get(item_id)
        if item is None:
            return None
        return ItemState(item_id, item.version, item.space, item.origin, dict(item.metadata))

    def vectors(self, item_ids: Sequence[str], space: ModelId) -> Found:
        """Read searched or retired vectors."""
        with self._lock:
            check_space(self.spaces, space)
            found: list[tuple[str, int, Any]] = []
            for item_id in item_ids:
                item = self._items.get(item_id)
                if item is not None and item.space == space:
                    found.append((item_id, item.version, self._sides[space].row(item_id)))
                elif item is not None and space in item.retired:
                    found.append((item_id, item.version, item.retired[space]))
            return Found.of(found, space.dimension)

    def scan(self, space: ModelId, *, after: str | None = None, limit: int = 1000) -> Page:
        """List items searched in `space`, in the order of their ids."""
        check_limit(limit)
        with self._lock:
            check_space(self.spaces, space)
            if self._sorted_ids is None:
                self._sorted_ids = sorted(self._items)
            page: list[str] = []
            start = 0 if after is None else bisect_right(self._sorted_ids, after)
            for i in range(start, len(self._sorted_ids)):
                if self._items[self._sorted_ids[i]].space == space:
                    page.append(self._sorted_ids[i])
                    if len(page) == limit:
                        break
            items = [self._items[item_id] for item_id in page]
            return Page(
                item_ids=tuple(page),
                versions=np.array([item.version for item in items], dtype=np.int64),
                origins=tuple(item.origin for item in items),
                cursor=page[-1] if len(page) == limit else None,
            )

    def count(self, space: ModelId, *, origin: str | None = None) -> int:
        """Count the items searched in `space`."""
        with self._lock:
            check_space(self.spaces, space)
            ids = self._sides[space].ids
            if origin is None:
                return len(ids)
            return sum(self._items[item_id].origin == origin for item_id in ids)

    def optimise(self) -> None:
        """Nothing to tidy up."""

    def close(self) -> None:
        """Nothing to release."""


@dataclass(slots=True)
class _Item:
    version: int
    space: ModelId
    origin: str
    metadata: dict[str, Any]
    retired: dict[ModelId, NDArray[np.float32]] = field(default_factory=dict)


def _scores(queries: Vectors, rows: Vectors, metric: Metric) -> NDArray[np.float32]:
    """Compare every query with every row: (q, n), higher is better."""
    if metric != "l2":
        return queries @ rows.T
    # Differences, not the expanded square: that one loses the small distances to rounding.
    scores = np.empty((len(queries), len(rows)), dtype=np.float32)
    for i, query in enumerate(queries):
        scores[i] = -np.linalg.norm(rows - query, axis=1)
    return scores
