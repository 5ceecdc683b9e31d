"""The embedded store: Qdrant Edge, on the local disk, no server."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.checks import check_ids
from hotfill.errors import StoreError
from hotfill.stores.base import Capabilities, Found, Gallery, Hits, ItemState, Page
from hotfill.stores.filters import check_metadata
from hotfill.stores.folder_lock import FolderLock
from hotfill.stores.inputs import check_limit, check_move, check_search, check_space, check_upsert
from hotfill.stores.qdrant_edge.points import (
    ID,
    VERSION,
    made_by,
    makers_of,
    metadata_of,
    payload,
)
from hotfill.stores.qdrant_edge.shard import Shard
from hotfill.stores.retired import RetiredVectors
from hotfill.stores.stamp_file import read_stamp, write_stamp
from hotfill.stores.versions import VersionClock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata, Where
    from hotfill.types import ModelId, Vectors

_CEILING_STEP = 60 * 10**9  # versions are nanoseconds: the record of them is renewed once a minute


class QdrantEdgeGallery(Gallery):
    """A gallery in a folder. Make it with `create`, come back to it with `open`.

    In the folder: `shard/` (the engine's), `retired.sqlite` (vectors kept for the way back),
    `spaces.json` (the stamp) and `lock` (one process at a time). What is acknowledged survives
    the killing of the process.

    A move first writes the earlier vectors to `retired.sqlite`, then gives the points the new
    vector, then takes the earlier one away. A crash between the last two leaves items on two
    sides; `open` takes the older side away from them. That undoes half a move back and completes
    half a move forward: either is a state that an unacknowledged move may leave.
    """

    def __init__(
        self,
        folder: Path,
        shard: Shard,
        retired: RetiredVectors,
        lock: FolderLock,
        spaces: tuple[ModelId, ...],
    ) -> None:
        """Use `create` or `open`."""
        self._folder = folder
        self._shard = shard
        self._retired = retired
        self._folder_lock = lock
        self._spaces = spaces
        self._clock = VersionClock(floor=retired.version_ceiling)
        # Held by everything but searches. They look at the engine alone, which answers at once.
        self._lock = RLock()
        self._closed = False
        self._ceiling = self._clock.last
        self._counts: dict[ModelId, int] = {}
        self._torn = True  # a write may have stopped half-way: look before the next call
        self._repair()

    @classmethod
    def create(
        cls, path: str | Path, model: ModelId, *, exact: bool = False, ef: int | None = None
    ) -> Self:
        """Make an empty gallery in a new or empty folder, stamped with its first model.

        exact: compare with every vector instead of walking the HNSW graphs.
        ef: how many candidates a walk keeps; the engine's default when None. More finds more,
            and is slower.
        Raises StoreError when the folder holds something.
        """
        folder = Path(path)
        if folder.exists() and any(folder.iterdir()):
            raise StoreError(f"{folder} is not empty: open it, or name a folder that is")
        folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(folder)
        try:
            shard = Shard.create(folder / "shard", model, exact=exact, ef=ef)
            retired = RetiredVectors(folder / "retired.sqlite")
            write_stamp(folder, [model])  # last: a folder without it was never finished
        except BaseException:
            lock.release()
            raise
        return cls(folder, shard, retired, lock, (model,))

    @classmethod
    def open(cls, path: str | Path, *, exact: bool = False, ef: int | None = None) -> Self:
        """Open a gallery that `create` made, and repair what a crash left half done.

        exact, ef: as for `create`; they hold while the gallery is open.
        Raises StoreError when the folder is no gallery, StoreBusyError when a process has it.
        """
        folder = Path(path)
        spaces = read_stamp(folder)
        lock = FolderLock(folder)
        try:
            spaces = read_stamp(folder)  # again: the process before us may have changed it
            shard = Shard.load(folder / "shard", exact=exact, ef=ef)
            return cls(folder, shard, RetiredVectors(folder / "retired.sqlite"), lock, spaces)
        except BaseException:
            lock.release()
            raise

    @property
    def capabilities(self) -> Capabilities:
        """Item by item, one process; a search of several sides is one call of the engine."""
        return Capabilities(atomic_move=False, snapshot_reads=True, many_processes=False)

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        return self._spaces

    def add_space(self, model: ModelId) -> None:
        """Add a named vector to the shard, then stamp the folder."""
        with self._lock:
            if model not in self._spaces:
                self._shard.add_space(model)
                write_stamp(self._folder, [*self._spaces, model])
                self._counts = {**self._counts, model: 0}
                self._spaces = (*self._spaces, model)

    def drop_space(self, model: ModelId) -> None:
        """Remove an unsearched space with its retired vectors."""
        with self._lock:
            self._repair()
            if model not in self._spaces:
                return
            if searched := self.count(model):
                raise StoreError(
                    f"cannot drop {model}: {searched} items are searched there; move them first"
                )
            self._retired.drop_space(model.fingerprint)
            remaining = tuple(space for space in self._spaces if space != model)
            write_stamp(self._folder, remaining)
            self._spaces = remaining
            self._counts = {space: self._counts[space] for space in remaining}
            self._shard.drop_space(model)

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
            rows, old_rows = check_upsert(self._spaces, item_ids, vectors, space, metadata, retired)
            self._repair()
            versions = self._take_versions(len(item_ids))
            before = self._shard.read(item_ids, keys=None if metadata is None else [])
            if metadata is None:
                metadata = [
                    metadata_of(before[item_id].payload) if item_id in before else {}
                    for item_id in item_ids
                ]
            self._retired.put(
                (item_id, model.fingerprint, int(versions[i]), kind[i])
                for model, kind in old_rows.items()
                for i, item_id in enumerate(item_ids)
            )
            payloads = [
                payload(item_id, int(version), row)
                for item_id, version, row in zip(item_ids, versions, metadata, strict=True)
            ]
            leaving = self._sides_of(list(before))
            with self._changing(arriving={space: len(item_ids)}, leaving=leaving.values()):
                self._shard.write(item_ids, payloads, space.fingerprint, rows)
            written = dict(zip(item_ids, versions.tolist(), strict=True))
            self._retired.forget_other_versions({name: written[name] for name in before})
            return versions

    def set_metadata(self, item_ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist."""
        check_ids(item_ids)
        check_metadata(metadata, len(item_ids))
        with self._lock:
            there = self._shard.read(item_ids, keys=None)
            for item_id, row in zip(item_ids, metadata, strict=True):
                if item_id in there:
                    stored = there[item_id].payload
                    content = payload(item_id, stored[VERSION], row)
                    self._shard.overwrite_payload(item_id, {**content, **makers_of(stored)})

    def delete(self, item_ids: Sequence[str]) -> int:
        """Remove items from every space."""
        check_ids(item_ids)
        with self._lock:
            self._repair()
            there = list(self._shard.read(item_ids, keys=[]))
            if there:
                with self._changing(arriving={}, leaving=self._sides_of(there).values()):
                    self._shard.delete(there)
                self._retired.forget(there)
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
        transform = None if origin == space.fingerprint else origin
        with self._lock:
            rows, versions = check_move(self._spaces, item_ids, vectors, space, expected_versions)
            self._repair()
            mark = made_by(space.fingerprint)
            before = self._shard.read(item_ids, keys=[VERSION, mark], vectors=True)
            moved = np.array(
                [
                    item_id in before
                    and before[item_id].payload[VERSION] == version
                    and (
                        transform is None
                        or mark in before[item_id].payload
                        or space.fingerprint not in before[item_id].vector
                    )
                    for item_id, version in zip(item_ids, versions.tolist(), strict=True)
                ],
                dtype=np.bool_,
            )
            going = [item_id for item_id, goes in zip(item_ids, moved, strict=True) if goes]
            self._carry_over({name: before[name] for name in going}, rows[moved], space, transform)
            return moved

    def _carry_over(
        self, items: Mapping[str, Any], rows: Vectors, space: ModelId, transform: str | None
    ) -> None:
        """Write the new vectors and retire the earlier ones, in an order that a crash may cut."""
        if not items:
            return
        target, mark = space.fingerprint, made_by(space.fingerprint)
        item_ids = list(items)
        leaving: dict[ModelId, list[str]] = {}
        for model in self._spaces:
            if model != space:
                there = [name for name in item_ids if model.fingerprint in items[name].vector]
                if there:
                    leaving[model] = there
        self._retired.put(
            (
                item_id,
                model.fingerprint,
                items[item_id].payload[VERSION],
                np.array(items[item_id].vector[model.fingerprint], dtype=np.float32),
            )
            for model, there in leaving.items()
            for item_id in there
        )
        # A vector that a transform made must never be taken for the model's: the mark goes on
        # before it is written, and off after it is replaced.
        if transform is not None:
            self._shard.set_maker(item_ids, target, transform)
        arrivals = sum(map(len, leaving.values()))
        departures = [model for model, there in leaving.items() for _ in there]
        with self._changing(arriving={space: arrivals}, leaving=departures):
            self._shard.set_vectors(item_ids, target, rows)
            for model, there in leaving.items():
                self._shard.remove_vectors(there, model.fingerprint)
        if transform is None:
            marked = [name for name in item_ids if mark in items[name].payload]
            if marked:
                self._shard.set_maker(marked, target, None)
        self._retired.forget_in_space(item_ids, target)

    def search(
        self, queries: Mapping[ModelId, Vectors], k: int, *, where: Where | None = None
    ) -> dict[ModelId, Hits]:
        """Search all sides in one call of the engine; sides without items are left out of it."""
        ready = check_search(self._spaces, queries, k, where)
        while True:
            counts = self._counts
            filled = {space: ready[space] for space in ready if counts.get(space)}
            found = self._shard.search(filled, k, where) if filled else {}
            # A side that was empty may have taken items from one that was searched after that.
            now = self._counts
            if all(space in filled or not now.get(space) for space in ready):
                break
        nothing = Hits(
            item_ids=((),) * max(map(len, ready.values()), default=0),
            scores=(np.empty(0, dtype=np.float32),) * max(map(len, ready.values()), default=0),
        )
        return {space: found.get(space, nothing) for space in ready}

    def get(self, item_ids: Sequence[str]) -> list[ItemState | None]:
        """Read the state of items."""
        with self._lock:
            self._repair()
            records = self._shard.read(item_ids, keys=None)
            sides = self._sides_of(list(records))
        states: list[ItemState | None] = []
        for item_id in item_ids:
            if item_id not in records:
                states.append(None)
                continue
            stored, space = records[item_id].payload, sides[item_id]
            states.append(
                ItemState(
                    item_id=item_id,
                    version=stored[VERSION],
                    space=space,
                    origin=stored.get(made_by(space.fingerprint), space.fingerprint),
                    metadata=metadata_of(stored),
                )
            )
        return states

    def vectors(self, item_ids: Sequence[str], space: ModelId) -> Found:
        """Read searched vectors from the shard, retired ones from their file."""
        name = space.fingerprint
        with self._lock:
            check_space(self._spaces, space)
            self._repair()
            records = self._shard.read(item_ids, keys=[VERSION], vectors=[name])
            versions = {item_id: record.payload[VERSION] for item_id, record in records.items()}
            found = {
                item_id: record.vector[name]
                for item_id, record in records.items()
                if record.vector and name in record.vector
            }
            elsewhere = {key: version for key, version in versions.items() if key not in found}
            found.update(self._retired.get(name, elsewhere))
        there = [item_id for item_id in item_ids if item_id in found]
        return Found(
            item_ids=tuple(there),
            versions=np.array([versions[item_id] for item_id in there], dtype=np.int64),
            vectors=np.array([found[item_id] for item_id in there], dtype=np.float32).reshape(
                -1, space.dimension
            ),
        )

    def scan(self, space: ModelId, *, after: str | None = None, limit: int = 1000) -> Page:
        """List items searched in `space`, in the order of their point ids."""
        check_limit(limit)
        with self._lock:
            check_space(self._spaces, space)
            self._repair()
            records, cursor = self._shard.page(space.fingerprint, after=after, limit=limit)
        own, mark = space.fingerprint, made_by(space.fingerprint)
        return Page(
            item_ids=tuple(record.payload[ID] for record in records),
            versions=np.array([record.payload[VERSION] for record in records], dtype=np.int64),
            origins=tuple(record.payload.get(mark, own) for record in records),
            cursor=cursor,
        )

    def count(self, space: ModelId, *, origin: str | None = None) -> int:
        """Count the items searched in `space`; at once without `origin`, by a filter with it."""
        with self._lock:
            check_space(self._spaces, space)
            self._repair()
            if origin is None:
                return self._counts[space]
            if origin == space.fingerprint:
                return self._shard.count_own(space.fingerprint)
            return self._shard.count(space.fingerprint, made_by_transform=origin)

    def optimise(self) -> None:
        """Build the engine's indexes and compact its segments."""
        with self._lock:
            self._shard.optimise()

    def close(self) -> None:
        """Flush, release the folder."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                self._shard.flush()
                self._shard.close()
            finally:
                self._retired.close()
                self._folder_lock.release()

    # Inside the lock

    def _sides_of(self, item_ids: Sequence[str]) -> dict[str, ModelId]:
        """Tell where existing items are searched."""
        filled = [space for space in self._spaces if self._counts[space]]
        if len(filled) == 1:
            return dict.fromkeys(item_ids, filled[0])
        return {
            item_id: space
            for space in filled
            for item_id in self._shard.searched_among(item_ids, space.fingerprint)
        }

    def _take_versions(self, n: int) -> NDArray[np.int64]:
        versions = self._clock.take(n)
        if self._clock.last > self._ceiling:
            self._ceiling = self._clock.last + _CEILING_STEP
            self._retired.version_ceiling = self._ceiling
        return versions

    @contextmanager
    def _changing(
        self, *, arriving: Mapping[ModelId, int], leaving: Iterable[ModelId]
    ) -> Iterator[None]:
        """Keep the counts around a write: never zero for a side that may hold an item."""
        self._torn = True  # stays so if the write fails; the next call then looks for itself
        self._recount(arriving, 1)
        yield
        self._recount(Counter(leaving), -1)
        self._torn = False

    def _recount(self, changes: Mapping[ModelId, int], sign: int) -> None:
        # A new dict each time: searches read the counts without the lock.
        self._counts = {
            space: count + sign * changes.get(space, 0) for space, count in self._counts.items()
        }

    def _repair(self) -> None:
        """Let every item be on one side again after a move that stopped half-way."""
        if not self._torn:
            return
        for older, newer in combinations(self._spaces, 2):
            while both := self._shard.in_both(older.fingerprint, newer.fingerprint):
                self._shard.remove_vectors(both, older.fingerprint)
        self._counts = {space: self._shard.count(space.fingerprint) for space in self._spaces}
        self._torn = False
