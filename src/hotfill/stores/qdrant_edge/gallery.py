"""The embedded store: Qdrant Edge, on the local disk, no server."""

from __future__ import annotations

import shutil
from pathlib import Path
from threading import Lock, RLock
from typing import TYPE_CHECKING

import numpy as np

from hotfill.checks import check_ids
from hotfill.errors import StoreError
from hotfill.stores.base import Capabilities, Found, Gallery, Hits, ItemState, Page
from hotfill.stores.filters import check_metadata
from hotfill.stores.folder_lock import FolderLock
from hotfill.stores.inputs import (
    check_limit,
    check_move,
    check_search,
    check_space,
    check_unsearched,
    check_upsert,
)
from hotfill.stores.qdrant_edge.moving import carry_over, may_move
from hotfill.stores.qdrant_edge.points import (
    ID,
    VERSION,
    made_by,
    makers_of,
    metadata_of,
    payload,
    state_of,
)
from hotfill.stores.qdrant_edge.rebuild import copy_shard, rebuild
from hotfill.stores.qdrant_edge.shard import Shard
from hotfill.stores.qdrant_edge.sides import Sides
from hotfill.stores.retired import RetiredVectors
from hotfill.stores.room import check_room
from hotfill.stores.stamp_file import Stamp, read_stamp, write_stamp
from hotfill.stores.versions import VersionClock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata, Where
    from hotfill.types import ModelId, Vectors

SMALL_BYTES = 8 * 2**20  # of vectors; the engine builds indexes from some 20 MB on
_CEILING_STEP = 60 * 10**9  # versions are nanoseconds: the record of them is renewed once a minute
_FLUSHED_AFTER = 50_000  # items: opening after a crash plays back at most so many, in seconds
_CARRIED_AT_ONCE = 500  # items; searches and writes wait for each such part


class QdrantEdgeGallery(Gallery):
    """A gallery in a folder. Make it with `create`, come back to it with `open`.

    In the folder: a subfolder with the engine's shard, `retired.sqlite` (vectors kept for the way
    back), `spaces.json` (the stamp) and `lock` (one process at a time). What is acknowledged
    survives the killing of the process.

    A move first writes the earlier vectors to `retired.sqlite`, then gives the points the new
    vector, then takes the earlier one away. A crash between the last two leaves items on two
    sides; `open` brings them to one.
    """

    def __init__(
        self, folder: Path, stamp: Stamp, lock: FolderLock, *, exact: bool, ef: int | None
    ) -> None:
        """Use `create` or `open`."""
        self._folder = folder
        self._stamp = stamp
        self._folder_lock = lock
        self._exact, self._ef = exact, ef
        self._closed = False
        # Held by everything but searches. They look at the engine alone, which answers at once.
        self._lock = RLock()
        self._optimising = Lock()
        self._written: set[str] | None = None  # what to carry over to a shard being rebuilt
        self._unflushed = 0  # items written since the engine's log was last shortened
        self._sides = Sides()
        self._retired = RetiredVectors(folder / "retired.sqlite")
        self._ceiling = self._retired.version_ceiling
        self._clock = VersionClock(floor=self._ceiling)
        self._shard = Shard.load(folder / stamp.data, exact=exact, ef=ef)
        self._sides.settle(self._shard, stamp.spaces)

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
            Shard.create(folder / _data_name(0), model)
            stamp = Stamp(spaces=(model,), data=_data_name(0))
            write_stamp(folder, stamp)  # last: a folder without it was never finished
            return cls(folder, stamp, lock, exact=exact, ef=ef)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, path: str | Path, *, exact: bool = False, ef: int | None = None) -> Self:
        """Open a gallery that `create` made, and repair what a crash left half done.

        exact, ef: as for `create`; they hold while the gallery is open.
        Raises StoreError when the folder is no gallery, StoreBusyError when a process has it.
        """
        folder = Path(path)
        read_stamp(folder)  # before anything is made in a folder that is not ours
        lock = FolderLock(folder)
        try:
            stamp = read_stamp(folder)
            for leftover in folder.glob(_data_name("*")):
                if leftover.name != stamp.data:
                    shutil.rmtree(leftover)  # a rebuild that a crash cut short
            check_room(folder, 0)  # opening plays back the log, which writes
            return cls(folder, stamp, lock, exact=exact, ef=ef)
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
        return self._stamp.spaces

    def add_space(self, model: ModelId) -> None:
        """Add a named vector to the shard, then stamp the folder."""
        with self._lock:
            if model not in self.spaces:
                self._shard.add_space(model)
                self._restamp(Stamp((*self.spaces, model), self._stamp.data))
                self._sides.distrust()

    def drop_space(self, model: ModelId) -> None:
        """Remove an unsearched space with its retired vectors."""
        with self._lock:
            self._settle()
            if model not in self.spaces:
                return
            check_unsearched(model, self.count(model))
            self._retired.drop_space(model.fingerprint)
            remaining = tuple(space for space in self.spaces if space != model)
            self._restamp(Stamp(remaining, self._stamp.data))
            self._sides.distrust()
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
            rows, old_rows = check_upsert(self.spaces, item_ids, vectors, space, metadata, retired)
            self._before_write(rows.nbytes * (1 + len(old_rows)), len(rows))
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
            leaving = self._sides.of(self._shard, list(before))
            with self._sides.changing(arriving={space: len(item_ids)}, leaving=leaving.values()):
                self._note(item_ids)
                self._shard.write(item_ids, payloads, space.fingerprint, rows)
            written = dict(zip(item_ids, versions.tolist(), strict=True))
            self._retired.forget_other_versions({name: written[name] for name in before})
            return versions

    def set_metadata(self, item_ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist."""
        check_ids(item_ids)
        check_metadata(metadata, len(item_ids))
        with self._lock:
            self._before_write(0, len(item_ids))
            there = self._shard.read(item_ids, keys=None)
            for item_id, row in zip(item_ids, metadata, strict=True):
                if item_id in there:
                    self._note([item_id])
                    stored = there[item_id].payload
                    content = payload(item_id, stored[VERSION], row)
                    self._shard.overwrite_payload(item_id, {**content, **makers_of(stored)})

    def delete(self, item_ids: Sequence[str]) -> int:
        """Remove items from every space."""
        check_ids(item_ids)
        with self._lock:
            self._before_write(0, len(item_ids))
            there = list(self._shard.read(item_ids, keys=[]))
            if there:
                with self._sides.changing(
                    arriving={}, leaving=self._sides.of(self._shard, there).values()
                ):
                    self._note(there)
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
            rows, versions = check_move(self.spaces, item_ids, vectors, space, expected_versions)
            self._before_write(rows.nbytes, len(rows))
            own, mark = space.fingerprint, made_by(space.fingerprint)
            before = self._shard.read(item_ids, keys=[VERSION, mark], vectors=True)
            moved = np.array(
                [
                    may_move(before.get(item_id), version, own, mark, transform)
                    for item_id, version in zip(item_ids, versions.tolist(), strict=True)
                ],
                dtype=np.bool_,
            )
            if moved.any():
                going = [item_id for item_id, goes in zip(item_ids, moved, strict=True) if goes]
                self._note(going)
                carry_over(
                    {item_id: before[item_id] for item_id in going},
                    rows[moved],
                    space,
                    transform,
                    spaces=self.spaces,
                    shard=self._shard,
                    retired=self._retired,
                    sides=self._sides,
                )
            return moved

    def search(
        self, queries: Mapping[ModelId, Vectors], k: int, *, where: Where | None = None
    ) -> dict[ModelId, Hits]:
        """Search all sides in one call of the engine; sides without items are left out of it."""
        if self._closed:
            raise StoreError(f"{self._folder} is closed: open it again")
        ready = check_search(self.spaces, queries, k, where)
        while True:
            shard, counts = self._shard, self._sides.counts
            filled = {space: ready[space] for space in ready if counts.get(space)}
            try:
                found = shard.search(filled, k, where) if filled else {}
            except StoreError:
                if shard is self._shard:
                    raise
                continue  # a rebuilt shard took its place
            # A side that was empty may have taken items from one that was searched after that.
            counts = self._sides.counts
            if all(space in filled or not counts.get(space) for space in ready):
                break
        nothing = Hits(
            item_ids=((),) * max(map(len, ready.values()), default=0),
            scores=(np.empty(0, dtype=np.float32),) * max(map(len, ready.values()), default=0),
        )
        return {space: found.get(space, nothing) for space in ready}

    def get(self, item_ids: Sequence[str]) -> list[ItemState | None]:
        """Read the state of items."""
        with self._lock:
            self._settle()
            records = self._shard.read(item_ids, keys=None)
            sides = self._sides.of(self._shard, list(records))
        return [
            state_of(item_id, records[item_id].payload, sides[item_id])
            if item_id in records
            else None
            for item_id in item_ids
        ]

    def vectors(self, item_ids: Sequence[str], space: ModelId) -> Found:
        """Read searched vectors from the shard, retired ones from their file."""
        name = space.fingerprint
        with self._lock:
            check_space(self.spaces, space)
            self._settle()
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
            check_space(self.spaces, space)
            self._settle()
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
            check_space(self.spaces, space)
            self._settle()
            if origin is None:
                return self._sides.counts[space]
            if origin == space.fingerprint:
                return self._shard.count_own(space.fingerprint)
            return self._shard.count(space.fingerprint, made_by_transform=origin)

    def optimise(self) -> None:
        """Build the engine's indexes and compact, on a copy and in a process of its own.

        Needs room for a second copy of the shard. Writes wait while the files are copied and,
        for a moment, at the end. Small galleries, for which the engine builds no index, are
        compacted where they are.
        """
        with self._optimising:
            with self._lock:
                self._settle()
                size = sum(4 * n * space.dimension for space, n in self._sides.counts.items())
                if size < SMALL_BYTES:
                    self._shard.optimise()
                    return
                self._shard.flush()
                number = int(self._stamp.data.rpartition("-")[2]) + 1
                fresh, spaces = self._folder / _data_name(number), self.spaces
                copy_shard(self._folder / self._stamp.data, fresh)
                self._written = set()
            try:
                rebuild(fresh, spaces)
                self._change_over(fresh, spaces)
            finally:
                self._written = None
                if read_stamp(self._folder).data != fresh.name:
                    shutil.rmtree(fresh, ignore_errors=True)

    def _change_over(self, fresh: Path, spaces: Sequence[ModelId]) -> None:
        """Bring a rebuilt shard up to date, part by part, and put it in the place of the other."""
        successor = Shard.load(fresh, exact=self._exact, ef=self._ef)
        while True:
            with self._lock:
                self._settle()
                written = self._written or set()
                part = [written.pop() for _ in range(min(_CARRIED_AT_ONCE, len(written)))]
                for model in self.spaces:
                    successor.add_space(model)
                successor.copy_items(part, self._shard)
                if written:
                    continue  # and let others have a turn
                for model in spaces:
                    if model not in self.spaces:
                        successor.drop_space(model)
                successor.flush()
                before, left = self._shard, self._folder / self._stamp.data
                self._restamp(Stamp(spaces=self.spaces, data=fresh.name))
                self._shard, self._written = successor, None
                before.close()
            shutil.rmtree(left, ignore_errors=True)
            return

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

    def _settle(self) -> None:
        self._sides.settle(self._shard, self.spaces)

    def _before_write(self, n_bytes: int, n_items: int) -> None:
        check_room(self._folder, n_bytes)
        self._settle()
        self._unflushed += n_items
        if self._unflushed > _FLUSHED_AFTER:
            self._shard.flush()
            self._unflushed = n_items

    def _restamp(self, stamp: Stamp) -> None:
        write_stamp(self._folder, stamp)
        self._stamp = stamp

    def _note(self, item_ids: Iterable[str]) -> None:
        """Remember what a shard that is being rebuilt does not have yet."""
        if self._written is not None:
            self._written.update(item_ids)

    def _take_versions(self, n: int) -> NDArray[np.int64]:
        versions = self._clock.take(n)
        if self._clock.last > self._ceiling:
            self._ceiling = self._clock.last + _CEILING_STEP
            self._retired.version_ceiling = self._ceiling
        return versions


def _data_name(number: int | str) -> str:
    return f"shard-{number}"
