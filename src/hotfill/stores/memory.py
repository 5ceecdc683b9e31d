"""The reference store: numpy arrays, exact search, one lock. For tests, rehearsals, small sets."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.stores.base import (
    Capabilities,
    Found,
    Gallery,
    Hits,
    ItemState,
    Page,
    check_space,
    check_unsearched,
)
from hotfill.stores.filters import matches
from hotfill.stores.versions import VersionClock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.filters import Metadata, Where
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
        self._records: dict[str, bytes] = {}
        self._sorted_ids: list[str] | None = []  # None: to be sorted again by the next scan
        if model is not None:
            self.add_space(model)

    @cached_property
    def capabilities(self) -> Capabilities:
        """Whole batches move at once, searches see one moment, one process."""
        return Capabilities(
            atomic_move=True, snapshot_reads=True, many_processes=False, free_length=True
        )

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        with self._lock:
            return tuple(self._sides)

    def _origins(self) -> dict[str, bytes]:
        return self._records

    def _add_space(self, model: ModelId) -> None:
        with self._lock:
            self._sides.setdefault(model, Rows(model))

    def _drop_space(self, model: ModelId) -> None:
        with self._lock:
            check_unsearched(model, len(self._side(model).ids))
            del self._sides[model]
            for item in self._items.values():
                item.kept.pop(model, None)

    def _upsert(
        self,
        item_ids: list[str],
        vectors: Vectors,
        space: ModelId,
        metadata: Sequence[Metadata] | None,
        kept: Mapping[ModelId, Vectors],
    ) -> NDArray[np.int64]:
        with self._lock:
            side = self._side(space)
            versions = self._clock.take(len(item_ids))
            for i, item_id in enumerate(item_ids):
                before = self._items.get(item_id)
                if before is None:
                    self._sorted_ids = None
                elif before.space != space:
                    self._sides[before.space].remove(item_id)
                earlier = {} if before is None else before.metadata
                self._items[item_id] = _Item(
                    version=int(versions[i]),
                    space=space,
                    metadata=earlier if metadata is None else dict(metadata[i]),
                    kept={model: rows[i].copy() for model, rows in kept.items()},
                )
            side.put(item_ids, vectors)
            return versions

    def _set_metadata(self, item_ids: list[str], metadata: Sequence[Metadata]) -> None:
        with self._lock:
            for item_id, row in zip(item_ids, metadata, strict=True):
                if item_id in self._items:
                    self._items[item_id].metadata = dict(row)

    def _delete(self, item_ids: list[str]) -> int:
        with self._lock:
            there = [item_id for item_id in item_ids if item_id in self._items]
            for item_id in there:
                self._sides[self._items.pop(item_id).space].remove(item_id)
            if there:
                self._sorted_ids = None
            return len(there)

    def _move(
        self,
        item_ids: list[str],
        vectors: Vectors,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str,
    ) -> NDArray[np.bool_]:
        with self._lock:
            side = self._side(space)
            moved = np.zeros(len(item_ids), dtype=np.bool_)
            for i, item_id in enumerate(item_ids):
                item = self._items.get(item_id)
                if item is None or item.version != expected_versions[i]:
                    continue
                if item.space == space and side.origin(item_id) == space.fingerprint != origin:
                    continue  # the model's own vector is better than any transform's
                if item.space != space:
                    item.kept[item.space] = self._sides[item.space].remove(item_id)
                    item.kept.pop(space, None)
                item.space = space
                moved[i] = True
            going = [item_ids[i] for i in np.flatnonzero(moved).tolist()]
            side.put(going, vectors[moved], [origin] * len(going))
            return moved

    def _search(
        self, queries: Mapping[ModelId, Vectors], k: int, where: Where | None
    ) -> dict[ModelId, Hits]:
        with self._lock:
            return {
                space: self._search_side(space, rows, k, where) for space, rows in queries.items()
            }

    def _search_side(self, space: ModelId, queries: Vectors, k: int, where: Where | None) -> Hits:
        side = self._side(space)
        rows, passing = side.filled, None
        if where is not None:
            passing = np.array(
                [
                    i
                    for i, name in enumerate(side.ids)
                    if matches(self._items[name].metadata, where)
                ],
                dtype=np.intp,
            )
            rows = rows[passing]
        scores = _scores(queries, rows, space.metric)
        orders = [best(row, k) for row in scores]
        places = orders if passing is None else [passing[order] for order in orders]
        return side.hits(places, [row[order] for row, order in zip(scores, orders, strict=True)])

    def _get(self, item_ids: list[str]) -> list[ItemState | None]:
        with self._lock:
            return [self._state(item_id) for item_id in item_ids]

    def _state(self, item_id: str) -> ItemState | None:
        item = self._items.get(item_id)
        if item is None:
            return None
        origin = self._sides[item.space].origin(item_id)
        return ItemState(item_id, item.version, item.space, origin, dict(item.metadata))

    def _vectors(self, item_ids: list[str], space: ModelId) -> Found:
        with self._lock:
            side = self._side(space)
            found: list[tuple[str, int, Any]] = []
            for item_id in item_ids:
                item = self._items.get(item_id)
                if item is not None and item.space == space:
                    found.append((item_id, item.version, side.row(item_id)))
                elif item is not None and space in item.kept:
                    found.append((item_id, item.version, item.kept[space]))
            return Found.of(found, space.dimension)

    def _scan(self, space: ModelId, after: str | None, limit: int) -> Page:
        with self._lock:
            side = self._side(space)
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
                origins=tuple(map(side.origin, page)),
                cursor=page[-1] if len(page) == limit else None,
            )

    def _count(self, space: ModelId, origin: str | None) -> int:
        with self._lock:
            side = self._side(space)
            return len(side.ids) if origin is None else side.origins.count(origin)

    def _optimise(self) -> None:
        pass  # nothing to tidy up

    def _close(self) -> None:
        pass  # nothing to release

    def _side(self, space: ModelId) -> Rows:
        """Return a side; inside the lock."""
        check_space(tuple(self._sides), space)
        return self._sides[space]


@dataclass(slots=True)
class _Item:
    version: int
    space: ModelId
    metadata: dict[str, Any]
    kept: dict[ModelId, NDArray[np.float32]] = field(default_factory=dict)


class Rows:
    """Vectors of a space by item id, without gaps: a removed row is replaced by the last.

    ids, origins: in the order of the rows; what made each vector, as in `ItemState`. filled:
        float32 (n, dimension), a view that the next change may void. Not safe for use by several
        threads at once.
    """

    def __init__(self, space: ModelId) -> None:
        self.ids: list[str] = []
        self.origins: list[str] = []
        self._own = space.fingerprint
        self._place: dict[str, int] = {}
        self._data = np.empty((16, space.dimension), dtype=np.float32)

    @property
    def filled(self) -> Vectors:
        """All vectors, in the order of `ids`."""
        filled: Vectors = self._data[: len(self.ids)]
        return filled

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._place

    def places(self, item_ids: Iterable[str]) -> list[int]:
        """Tell in which rows items stand; those that are not here are left out."""
        return [self._place[item_id] for item_id in item_ids if item_id in self._place]

    def row(self, item_id: str) -> NDArray[np.float32]:
        """Return the vector of an item."""
        vector: NDArray[np.float32] = self._data[self._place[item_id]]
        return vector

    def origin(self, item_id: str) -> str:
        """Tell what made the vector of an item."""
        return self.origins[self._place[item_id]]

    def hits(
        self, places: Sequence[NDArray[np.intp]], scores: Sequence[NDArray[np.float32]]
    ) -> Hits:
        """Name what was found in which rows, for each query."""
        lists = [each.tolist() for each in places]
        return Hits(
            item_ids=tuple([tuple([self.ids[at] for at in each]) for each in lists]),
            scores=tuple(scores),
            origins=tuple([tuple([self.origins[at] for at in each]) for each in lists]),
        )

    def put(
        self, item_ids: Sequence[str], vectors: Vectors, origins: Sequence[str] | None = None
    ) -> None:
        """Give different items vectors, in the place of those they have.

        origins: what made each; the space's model when None.
        """
        places = []
        for item_id in item_ids:
            place = self._place.setdefault(item_id, len(self.ids))
            if place == len(self.ids):
                self.ids.append(item_id)
                self.origins.append(self._own)
            places.append(place)
        if len(self.ids) > len(self._data):
            larger = np.empty((2 * len(self.ids), self._data.shape[1]), dtype=np.float32)
            larger[: len(self._data)] = self._data
            self._data = larger
        self._data[places] = vectors
        for at, place in enumerate(places):
            self.origins[place] = self._own if origins is None else origins[at]

    def remove(self, item_id: str) -> NDArray[np.float32]:
        """Take an item away and return its vector."""
        place = self._place.pop(item_id)
        removed: NDArray[np.float32] = self._data[place].copy()
        last, made_by = self.ids.pop(), self.origins.pop()
        if last != item_id:
            self.ids[place], self.origins[place] = last, made_by
            self._place[last] = place
            self._data[place] = self._data[len(self.ids)]
        return removed


_APART = 64  # scores in a group of `best`


def best(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Return the places of the k highest scores, best first.

    Among groups of scores, the k with the highest maxima hold k scores at least as high as the
    least of these maxima: what is below it is not among the best. A tenth of the time of
    `numpy.argpartition` over all.
    """
    groups = len(scores) // _APART
    if groups >= 2 * k:
        # Every `groups`-th score is of one group: then whole stretches are compared at once.
        highest = scores[: groups * _APART].reshape(_APART, groups).max(axis=0)
        least = np.partition(highest, groups - k)[groups - k]
        rows = np.flatnonzero(scores >= least)
    elif k < len(scores):
        rows = np.argpartition(-scores, k - 1)[:k]
    else:
        rows = np.arange(len(scores))
    return rows[np.argsort(-scores[rows], kind="stable")[:k]]


def _scores(queries: Vectors, rows: Vectors, metric: Metric) -> NDArray[np.float32]:
    """Compare every query with every row: (q, n), higher is better."""
    if metric != "l2":
        return queries @ rows.T
    # Differences, not the expanded square: that one loses the small distances to rounding.
    scores = np.empty((len(queries), len(rows)), dtype=np.float32)
    for i, query in enumerate(queries):
        scores[i] = -np.linalg.norm(rows - query, axis=1)
    return scores
