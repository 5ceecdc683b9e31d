"""The gallery in a Qdrant collection."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.checks import check_ids
from hotfill.stores.base import Capabilities, Found, Gallery, Hits, ItemState, Page
from hotfill.stores.filters import check_metadata
from hotfill.stores.inputs import (
    check_limit,
    check_move,
    check_search,
    check_space,
    check_unsearched,
    check_upsert,
    ready_vectors,
)
from hotfill.stores.qdrant import moving, opening, searching, writing
from hotfill.stores.qdrant import stamp as stamps
from hotfill.stores.qdrant.collection import Collection, named, new_space, rows_of
from hotfill.stores.qdrant.conditions import (
    made_by_model,
    made_by_transform,
    searched_in,
    where_filter,
)
from hotfill.stores.qdrant.points import (
    SIDE,
    VERSION,
    made_by,
    metadata_of,
)
from hotfill.stores.versions import VersionClock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata, Where
    from hotfill.stores.qdrant.stamp import Space, Stamp
    from hotfill.types import ModelId, Vectors

TIMEOUT_SECONDS = 60.0


class QdrantGallery(Gallery):
    """A gallery in one collection of a Qdrant server, or of qdrant-client's own local engine.

    Make it with `create`, take over a collection that is there with `adopt`, come back with `open`.

    Each item is a point; each space is a named vector; the payload says where the item is searched,
    and which content it is (a version). A move adds a vector and changes that word; searches filter
    by it. The earlier vector stays and is retired thereby. The stamp is in the collection's
    metadata.

    What holds, and why:

    - Several processes may use a collection on a server at once. Every step of a move is done by
      the server only to points that still have the version meant, so that a write or a delete by
      any process beats it. Whole points are written by `upsert`: the last one wins, with all it
      brings.
    - Killed anywhere, a process leaves every item on one side, with a vector there: that word is
      in one point and changes at once. There is nothing to repair when a gallery is opened.
    - A search over several sides of a server asks for the older sides first, and for all but the
      newest once more at the end: an item that moves during it, forward or back, is found. An item
      that moved twice within one search might be missed. In the local engine a search sees one
      moment.
    - Versions are nanoseconds of the writing machine's clock. Two processes that write in the same
      nanosecond could give two items the same one; nothing else would.
    - `upsert` without metadata reads what is there and writes it back with the rest: metadata that
      another process sets between the two is lost.
    - With replicas, set the collection's `write_consistency_factor` to their number, so that what
      was acknowledged survives the loss of any of them.

    What was tested: everything against the local engine of qdrant-client 1.20. Nothing was run
    against a server; that needs conditional updates and `create_vector_name`, which came with
    Qdrant 1.18 or later. The local engine is written in Python and keeps all in memory: use it for
    tests and small sets, `QdrantEdgeGallery` for galleries on a disk.
    """

    def __init__(self, collection: Collection, stamp: Stamp) -> None:
        """Use `create`, `adopt` or `open`."""
        self._collection = collection
        self._stamp = stamp
        self._clock, self._clock_lock = VersionClock(), Lock()
        collection.adopted = stamp.adopted

    @classmethod
    def create(
        cls,
        location: str,
        model: ModelId,
        *,
        collection: str = "items",
        api_key: str | None = None,
        exact: bool = False,
        ef: int | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Make a collection for an empty gallery, stamped with its first model.

        location: the server's address ("http://localhost:6333"), or a folder for the local engine,
            or ":memory:" for one that is gone with the process.
        api_key: of the server. exact: compare with every vector instead of walking the graphs.
        ef: candidates that a walk keeps; the server's default when None.
        timeout_seconds: of one request, in whole seconds.
        For settings of the server's own (on disk, quantised, sharded, replicated), create an empty
        collection with them and `adopt` it.
        Raises StoreError when the collection exists, or when the server cannot be used.
        """
        with opening.connected(
            location, collection, api_key=api_key, exact=exact, ef=ef, timeout=timeout_seconds
        ) as opened:
            return cls(opened, opening.create(opened, model))

    @classmethod
    def adopt(
        cls,
        location: str,
        model: ModelId,
        *,
        collection: str,
        vector: str = "",
        api_key: str | None = None,
        exact: bool = False,
        ef: int | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Stamp a collection that is there: say which model made its vectors.

        No point is altered: a note is made in the collection's metadata. The first `add_space` adds
        a named vector and indexes of the payload keys that hotfill uses; moves and writes add those
        keys (`_version`, `_side`, `_made_by_...`) to the points they touch.

        vector: the name of the vector; "" for the unnamed. Items are called by their point ids, as
        texts. Metadata are the texts, numbers and booleans of the payload whose keys do not begin
        with an underscore.
        Others: as for `create`. Idempotent. Raises StoreError when the collection does not
        fit, or was stamped otherwise before.

        A program that goes on writing points by itself while an upgrade runs is not noticed: a
        payload that it replaces says nothing of hotfill, so the item is on the adopted side again,
        but a vector that it changes in place may be moved over. Let it write through hotfill.
        """
        with opening.connected(
            location, collection, api_key=api_key, exact=exact, ef=ef, timeout=timeout_seconds
        ) as opened:
            return cls(opened, opening.adopt(opened, model, vector))

    @classmethod
    def open(
        cls,
        location: str,
        *,
        collection: str = "items",
        api_key: str | None = None,
        exact: bool = False,
        ef: int | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Open a gallery that `create` made or `adopt` stamped. Options: as for `create`.

        Raises StoreError when there is none, StoreBusyError when another process has the folder of
        the local engine open.
        """
        with opening.connected(
            location, collection, api_key=api_key, exact=exact, ef=ef, timeout=timeout_seconds
        ) as opened:
            return cls(opened, opening.known(opened))

    @property
    def capabilities(self) -> Capabilities:
        """Item by item. A server takes many processes; the local engine sees one moment."""
        local = self._collection.local
        return Capabilities(atomic_move=False, snapshot_reads=local, many_processes=not local)

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        return self._reload().models

    def _reload(self) -> Stamp:
        self._stamp = self._collection.read_stamp() or stamps.Stamp((), adopted=False)
        return self._stamp

    def _stamp_with(self, *wanted: ModelId) -> Stamp:
        """Return the stamp, read again if a space is unknown: another process may have added it."""
        stamp = self._stamp
        return stamp if all(model in stamp.models for model in wanted) else self._reload()

    def add_space(self, model: ModelId) -> None:
        """Add a named vector to the collection, then stamp it."""
        with self._collection.alone:
            if model not in self._reload().models:
                self._collection.add_space(new_space(model, time.time_ns()))
                self._reload()

    def drop_space(self, model: ModelId) -> None:
        """Remove an unsearched space with its retired vectors."""
        with self._collection.alone:
            if model not in self._reload().models:
                return
            check_unsearched(model, self.count(model))
            self._collection.drop_space(self._stamp.space(model))
            self._reload()

    def upsert(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        *,
        space: ModelId,
        metadata: Sequence[Metadata] | None = None,
        retired: Mapping[ModelId, Vectors] | None = None,
    ) -> NDArray[np.int64]:
        """Write items with new content, each as one whole point."""
        stamp = self._stamp_with(space, *(retired or {}))
        rows, old_rows = check_upsert(stamp.models, item_ids, vectors, space, metadata, retired)
        side = stamp.space(space)
        kinds = {side.vector: rows, **{stamp.space(m).vector: kind for m, kind in old_rows.items()}}
        with self._collection.alone:
            versions = self._take_versions(len(item_ids))
            writing.write(self._collection, item_ids, kinds, metadata, versions, side.side)
        return versions

    def set_metadata(self, item_ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist."""
        check_ids(item_ids)
        check_metadata(metadata, len(item_ids))
        with self._collection.alone:
            there = self._collection.read(self._possible(item_ids), keys=None)
            rows = dict(zip(item_ids, metadata, strict=True))
            writing.set_metadata(self._collection, rows, there)

    def delete(self, item_ids: Sequence[str]) -> int:
        """Remove points."""
        check_ids(item_ids)
        with self._collection.alone:
            there = list(self._collection.read(self._possible(item_ids), keys=[]))
            writing.delete(self._collection, there)
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
        """Let items be searched in `space`, each at once; see `moving.move` for the steps."""
        stamp = self._stamp_with(space)
        rows, versions = check_move(stamp.models, item_ids, vectors, space, expected_versions)
        possible = set(self._possible(item_ids))
        chosen = [i for i, item_id in enumerate(item_ids) if item_id in possible]
        with self._collection.alone:
            moved = moving.move(
                self._collection,
                stamp,
                stamp.space(space),
                [item_ids[i] for i in chosen],
                rows[chosen],
                versions[chosen].tolist(),
                None if origin == space.fingerprint else origin,
            )
        return np.array([moved.get(item_id, False) for item_id in item_ids], dtype=np.bool_)

    def search(
        self, queries: Mapping[ModelId, Vectors], k: int, *, where: Where | None = None
    ) -> dict[ModelId, Hits]:
        """Search the sides asked for, so that no moving item is missed (see the class)."""
        stamp = self._stamp_with(*queries)
        ready = check_search(stamp.models, queries, k, where)
        asked = {s: ready[s.model] for s in stamp.spaces if s.model in ready}
        condition = where_filter(where) if where else None
        found = searching.search(self._collection, asked, k, condition)
        return {model: found[stamp.space(model)] for model in ready}

    def get(self, item_ids: Sequence[str]) -> list[ItemState | None]:
        """Read the state of items."""
        records = self._collection.read(self._possible(item_ids), keys=None)
        return [
            self._state(item_id, records[item_id].payload) if item_id in records else None
            for item_id in item_ids
        ]

    def _state(self, item_id: str, stored: dict[str, Any]) -> ItemState | None:
        space = self._stamp.searched(stored, SIDE) or self._reload().searched(stored, SIDE)
        if space is None:
            return None
        return ItemState(
            item_id=item_id,
            version=stored.get(VERSION, 0),
            space=space.model,
            origin=stored.get(made_by(space.side), space.side),
            metadata=metadata_of(stored),
        )

    def vectors(self, item_ids: Sequence[str], space: ModelId) -> Found:
        """Read vectors, searched or retired: both are in the point."""
        where = self._known(space)
        records = self._collection.read(
            self._possible(item_ids), keys=[VERSION], vector=where.vector
        )
        there = [i for i in item_ids if i in records and where.vector in named(records[i])]
        rows = rows_of([records[item_id] for item_id in there], where)
        return Found(
            item_ids=tuple(there),
            versions=np.array([records[i].payload.get(VERSION, 0) for i in there], dtype=np.int64),
            vectors=ready_vectors(rows, space, there) if where.adopted and there else rows,
        )

    def scan(self, space: ModelId, *, after: str | None = None, limit: int = 1000) -> Page:
        """List items searched in `space`, in the order of their point ids."""
        check_limit(limit)
        where = self._known(space)
        records, cursor = self._collection.page(where, after, limit)
        mark = made_by(where.side)
        return Page(
            item_ids=tuple(self._collection.item(record) for record in records),
            versions=np.array([r.payload.get(VERSION, 0) for r in records], dtype=np.int64),
            origins=tuple(record.payload.get(mark, where.side) for record in records),
            cursor=cursor,
        )

    def count(self, space: ModelId, *, origin: str | None = None) -> int:
        """Count the items searched in `space`."""
        where = self._known(space)
        if origin is None:
            return self._collection.count(searched_in(where))
        if origin == where.side:
            return self._collection.count(searched_in(where), made_by_model(where))
        return self._collection.count(searched_in(where), made_by_transform(where, origin))

    def optimise(self) -> None:
        """Nothing: a server builds its indexes by itself, the local engine has none."""

    def close(self) -> None:
        """Disconnect."""
        self._collection.close()

    def _known(self, model: ModelId) -> Space:
        stamp = self._stamp_with(model)
        check_space(stamp.models, model)
        return stamp.space(model)

    def _possible(self, item_ids: Sequence[str]) -> list[str]:
        """Leave out ids that no point of an adopted collection can have."""
        return [item_id for item_id in item_ids if self._collection.may_have(item_id)]

    def _take_versions(self, n: int) -> NDArray[np.int64]:
        with self._clock_lock:
            return self._clock.take(n)
