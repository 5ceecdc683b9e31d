"""The gallery in a Qdrant collection."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import StoreError
from hotfill.stores.base import (
    Capabilities,
    Found,
    Gallery,
    Hits,
    ItemState,
    Page,
    check_unsearched,
)
from hotfill.stores.layouts import payload_layout
from hotfill.stores.qdrant import point_writer
from hotfill.stores.qdrant import stamp as stamps
from hotfill.stores.qdrant.collection import Collection, named, new_space
from hotfill.stores.qdrant.filter import (
    made_by_model,
    made_by_transform,
    searched_in,
    where_filter,
)
from hotfill.stores.qdrant.points import metadata_of
from hotfill.stores.qdrant_points import SIDE, VERSION, made_by
from hotfill.stores.versions import VersionClock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray
    from qdrant_client import models

    from hotfill.stores.base import Metadata, Where
    from hotfill.stores.layouts import Layout
    from hotfill.stores.qdrant.stamp import NamedVector, QdrantStamp
    from hotfill.types import ModelId, Vectors

TIMEOUT_SECONDS = 60.0


class QdrantGallery(Gallery):
    """A gallery in one collection of a Qdrant server, or of qdrant-client's own local engine.

    Each item is a point; each space is a named vector; the payload says where the item is searched,
    and which content it is (a version). A move adds a vector and changes that word; searches filter
    by it. The earlier vector stays and is kept thereby. The stamp is in the collection's metadata.
    What of a point hotfill does not model, it leaves alone: other vectors, lists, private keys.

    docs/howto/qdrant.md says what holds with many processes, crashes and replicas, and why.
    """

    def __init__(self, collection: Collection, stamp: QdrantStamp) -> None:
        """Use `create`, `adopt` or `open`."""
        self._collection = collection
        self._stamp, self._stamping = stamp, Lock()
        self._clock, self._clock_lock = VersionClock(), Lock()
        self._foreign: frozenset[str] = frozenset()  # names of vectors that are not hotfill's
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
        with _connected(
            location, collection, api_key, exact=exact, ef=ef, timeout=timeout_seconds, new=True
        ) as opened:
            space = new_space(model, time.time_ns())
            opened.create(space)
            return cls(opened, stamps.QdrantStamp((space,), adopted=False))

    @classmethod
    def adopt(
        cls,
        location: str,
        model: ModelId,
        *,
        collection: str,
        vector: str | None = None,
        api_key: str | None = None,
        exact: bool = False,
        ef: int | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Stamp a collection that is there: say which model made its vectors.

        No point is altered: a note is made in the collection's metadata. The first `add_space` adds
        a named vector and indexes of the payload keys that hotfill uses; moves and writes add those
        keys (`_hotfill_...`) to the points they touch. All else that a point holds stays.

        vector: the name of the vector; "" for the unnamed; None for the only one there is. Items
        are called by their point ids, as texts. Metadata are the texts, numbers and booleans of
        the payload at every depth, but for keys that begin with an underscore: a dot in a key goes
        one level down.
        Others: as for `create`. Idempotent. Raises StoreError when the collection does not fit, or
        was stamped otherwise before.

        Once the adopted space is dropped, points that other programs add are items of the newest
        one. They have to name its vector, which is called by the model's fingerprint.

        A program that goes on writing points by itself while an upgrade runs is not noticed: a
        payload that it replaces says nothing of hotfill, so the item is on the adopted side again,
        but a vector that it changes in place may be moved over. Let it write through hotfill.
        """
        with _connected(
            location, collection, api_key, exact=exact, ef=ef, timeout=timeout_seconds
        ) as opened:
            config = opened.describe()
            stamp = stamps.read(config.metadata, collection)
            if stamp is None:
                space = stamps.adopted_space(config, collection, model, vector, time.time_ns())
                opened.write_stamp(stamps.heading(adopted=True), stamps.entry(space))
                stamp = stamps.QdrantStamp((space,), adopted=True)
            elif model not in stamp.models:
                held = ", ".join(map(str, stamp.models)) or "nothing"
                raise StoreError(
                    f"collection {collection!r} is stamped already: it holds {held}; open it"
                )
            return cls(opened, stamp)

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
        with _connected(
            location, collection, api_key, exact=exact, ef=ef, timeout=timeout_seconds
        ) as opened:
            stamp = opened.read_stamp()
            if stamp is None:
                raise StoreError(
                    f"collection {collection!r} is no hotfill gallery: stamp it, or create one"
                )
            return cls(opened, stamp)

    @cached_property
    def capabilities(self) -> Capabilities:
        """Item by item. A server takes many processes; the local engine sees one moment."""
        local = self._collection.local
        return Capabilities(
            atomic_move=False,
            snapshot_reads=local,
            many_processes=not local,
            free_length=True,
        )

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        return self._reload().models

    def _spaces_with(self, models: Iterable[ModelId]) -> tuple[ModelId, ...]:
        return self._stamp_with(models).models

    def _stamp_with(self, wanted: Iterable[ModelId]) -> QdrantStamp:
        """Return the stamp, read again if a space is unknown: another process may have added it."""
        stamp = self._stamp
        return stamp if all(model in stamp.models for model in wanted) else self._reload()

    def _reload(self) -> QdrantStamp:
        with self._stamping:  # what was read before a change must not be kept after it
            self._stamp = self._collection.read_stamp() or stamps.QdrantStamp((), adopted=False)
            return self._stamp

    def _known(self, model: ModelId) -> NamedVector:
        return self._stamp_with([model]).space(model)

    def _add_space(self, model: ModelId) -> None:
        with self._collection.alone:
            if model not in self._reload().models:
                self._collection.add_space(new_space(model, time.time_ns()))
                self._reload()

    def _drop_space(self, model: ModelId) -> None:
        with self._collection.alone:
            if model not in self._reload().models:
                return
            check_unsearched(model, self._count(model, None))
            space, left = self._stamp.space(model), self._stamp.without(model)
            if space.adopted and left:  # whose items are then points that say nothing
                self._collection.write_stamp(stamps.entry(replace(left[-1], adopted=True)))
            self._collection.drop_space(space)
            self._reload()

    # Writing

    def _upsert(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        space: ModelId,
        metadata: Sequence[Metadata] | None,
        kept: Mapping[ModelId, Vectors],
    ) -> NDArray[np.int64]:
        with self._collection.alone:
            before = self._collection.read(item_ids, keys=None, vectors=True)
            ours = self._own_names(before)
            kinds = {self._known(model).vector: rows for model, rows in kept.items()}
            kinds[self._known(space).vector] = vectors
            with self._clock_lock:
                versions = self._clock.take(len(item_ids))
            point_writer.upsert(
                self._collection,
                item_ids,
                kinds,
                metadata,
                versions,
                self._known(space).side,
                before,
                ours,
            )
        return versions

    def _own_names(self, records: Mapping[str, Any]) -> set[str]:
        """Return the names of hotfill's vectors.

        The stamp is read again where a name is new: another process may have added that space.
        """
        names = {name for record in records.values() for name in named(record)}
        ours = {space.vector for space in self._stamp.spaces}
        if names - ours - self._foreign:
            ours = {space.vector for space in self._reload().spaces}
            self._foreign |= names - ours
        return ours

    def _set_metadata(self, item_ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        with self._collection.alone:
            there = self._collection.read(self._possible(item_ids), keys=None)
            rows = dict(zip(item_ids, metadata, strict=True))
            point_writer.set_metadata(self._collection, rows, there)

    def _delete(self, item_ids: Sequence[str]) -> int:
        with self._collection.alone:
            there = list(self._collection.read(self._possible(item_ids), keys=[]))
            point_writer.delete(self._collection, there)
            return len(there)

    def _move(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str,
    ) -> NDArray[np.bool_]:
        stamp = self._stamp_with([space])
        possible = set(self._possible(item_ids))
        chosen = [i for i, item_id in enumerate(item_ids) if item_id in possible]
        with self._collection.alone:
            moved = point_writer.move(
                self._collection,
                stamp,
                stamp.space(space),
                [item_ids[i] for i in chosen],
                vectors[chosen],
                expected_versions[chosen].tolist(),
                None if origin == space.fingerprint else origin,
            )
        return np.array([moved.get(item_id, False) for item_id in item_ids], dtype=np.bool_)

    # Reading

    def _search(
        self, queries: Mapping[ModelId, Vectors], k: int, where: Where | None
    ) -> dict[ModelId, Hits]:
        stamp = self._stamp_with(queries)
        asked = {s: queries[s.model] for s in stamp.spaces if s.model in queries}
        condition = where_filter(where, adopted=stamp.adopted) if where else None
        found = _search_sides(self._collection, asked, k, condition)
        return {model: found[stamp.space(model)] for model in queries}

    def _get(self, item_ids: Sequence[str]) -> list[ItemState | None]:
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
            metadata=metadata_of(stored, adopted=self._stamp.adopted),
        )

    def _layout(self) -> Layout | None:
        if not self._stamp.adopted:
            return None
        return payload_layout(self._collection.first_payload())

    def _stored(self, item_ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        records = self._collection.read(self._possible(item_ids), keys=None)
        stored = {item_id: record.payload for item_id, record in records.items()}
        return {
            item_id: {key: payload[key] for key in fields if payload.get(key) is not None}
            for item_id, payload in stored.items()
        }

    def _vectors(self, item_ids: Sequence[str], space: ModelId) -> Found:
        name = self._known(space).vector  # searched or kept: both are in the point
        records = self._collection.read(self._possible(item_ids), keys=[VERSION], vectors=[name])
        rows = [
            (item_id, records[item_id].payload.get(VERSION, 0), named(records[item_id])[name])
            for item_id in item_ids
            if item_id in records and name in named(records[item_id])
        ]
        return Found.of(rows, space.dimension).usable(space)

    def _scan(self, space: ModelId, after: str | None, limit: int) -> Page:
        where = self._known(space)
        records, cursor = self._collection.page(where, after, limit)
        mark = made_by(where.side)
        return Page(
            item_ids=tuple(self._collection.item(record) for record in records),
            versions=np.array([r.payload.get(VERSION, 0) for r in records], dtype=np.int64),
            origins=tuple(record.payload.get(mark, where.side) for record in records),
            cursor=cursor,
        )

    def _count(self, space: ModelId, origin: str | None) -> int:
        where = self._known(space)
        if origin is None:
            return self._collection.count(searched_in(where))
        if origin == where.side:
            return self._collection.count(searched_in(where), made_by_model(where))
        return self._collection.count(searched_in(where), made_by_transform(where, origin))

    def _optimise(self) -> None:
        """Nothing: a server builds its indexes by itself, the local engine has none."""

    def _close(self) -> None:
        self._collection.close()

    def _possible(self, item_ids: Sequence[str]) -> list[str]:
        """Leave out ids that no point of an adopted collection can have."""
        return [item_id for item_id in item_ids if self._collection.may_have(item_id)]


@contextmanager
def _connected(
    location: str,
    collection: str,
    api_key: str | None,
    *,
    exact: bool,
    ef: int | None,
    timeout: float,
    new: bool = False,
) -> Iterator[Collection]:
    """Connect for what the block opens; if that fails, disconnect. timeout: in seconds."""
    opened = Collection(
        location, collection, api_key=api_key, exact=exact, ef=ef, timeout_seconds=timeout, new=new
    )
    try:
        yield opened
    except BaseException:
        opened.close()
        raise


def _search_sides(
    collection: Collection,
    queries: Mapping[NamedVector, Vectors],
    k: int,
    where: models.Filter | None,
) -> dict[NamedVector, Hits]:
    """Search sides, given oldest first.

    A server answers one request after another, and items may move between two. Read oldest first,
    an item that moves forward is seen before or after its move, or both; the older sides are read
    again at the end for one that moves back. What a side gave twice is united, the later score
    counts.
    """
    if collection.local or len(queries) < 2:
        found = collection.search(queries, k, where)
    else:
        found = {}
        for space, rows in queries.items():
            found |= collection.search({space: rows}, k, where)
        older = dict(list(queries.items())[:-1])
        for space, again in collection.search(older, k, where).items():
            found[space] = [{**a, **b} for a, b in zip(found[space], again, strict=True)]
    return {space: _hits(lists, k) for space, lists in found.items()}


def _hits(lists: Sequence[Mapping[str, float]], k: int) -> Hits:
    best = [sorted(scores.items(), key=lambda pair: -pair[1])[:k] for scores in lists]
    return Hits(
        item_ids=tuple(tuple(item_id for item_id, _ in pairs) for pairs in best),
        scores=tuple(np.array([score for _, score in pairs], dtype=np.float32) for pairs in best),
    )
