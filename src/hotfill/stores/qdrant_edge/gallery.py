"""The embedded store: Qdrant Edge, on the local disk, no server."""

from __future__ import annotations

import shutil
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np

from hotfill.checks import check_ids
from hotfill.errors import StoreError
from hotfill.stores.base import Capabilities, Found, Gallery, Hits, ItemState, Page
from hotfill.stores.filters import check_metadata
from hotfill.stores.folder_lock import locked, new_folder
from hotfill.stores.inputs import (
    check_limit,
    check_move,
    check_search,
    check_space,
    check_unsearched,
    check_upsert,
)
from hotfill.stores.qdrant_edge.current import Current, data_name
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
from hotfill.stores.qdrant_edge.shard import Shard
from hotfill.stores.retired import RetiredVectors
from hotfill.stores.room import check_room
from hotfill.stores.stamp_file import Stamp, read_stamp, write_stamp
from hotfill.stores.versions import LastingClock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata, Where
    from hotfill.stores.folder_lock import FolderLock
    from hotfill.stores.qdrant_edge.sides import Sides
    from hotfill.types import ModelId, Vectors


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
        self._folder, self._folder_lock = folder, lock
        self._closed = False
        # Held by everything but searches. They look at the engine alone, which answers at once.
        self._lock = RLock()
        self._retired = RetiredVectors(folder / "retired.sqlite")
        self._clock = LastingClock(self._retired.version_ceiling, self._retired.raise_ceiling)
        self._current = Current(folder, stamp, self._lock, exact=exact, ef=ef)

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
        folder = new_folder(path)
        with locked(folder) as lock:
            Shard.create(folder / data_name(0), model)
            stamp = Stamp(spaces=(model,), data=data_name(0))
            write_stamp(folder, stamp)  # last: a folder without it was never finished
            return cls(folder, stamp, lock, exact=exact, ef=ef)

    @classmethod
    def open(cls, path: str | Path, *, exact: bool = False, ef: int | None = None) -> Self:
        """Open a gallery that `create` made, and repair what a crash left half done.

        exact, ef: as for `create`; they hold while the gallery is open.
        Raises StoreError when the folder is no gallery, StoreBusyError when a process has it.
        """
        folder = Path(path)
        read_stamp(folder)  # before anything is made in a folder that is not ours
        with locked(folder) as lock:
            stamp = read_stamp(folder)
            for leftover in folder.glob(data_name("*")):
                if leftover.name != stamp.data:
                    shutil.rmtree(leftover)  # a rebuild that a crash cut short
            check_room(folder, 0)  # opening plays back the log, which writes
            return cls(folder, stamp, lock, exact=exact, ef=ef)

    @property
    def capabilities(self) -> Capabilities:
        """Item by item, one process; a search of several sides is one call of the engine."""
        return Capabilities(atomic_move=False, snapshot_reads=True, many_processes=False)

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        return self._current.spaces

    def add_space(self, model: ModelId) -> None:
        """Add a named vector to the shard, then stamp the folder."""
        with self._lock:
            if model not in self.spaces:
                self._current.add_space(model)

    def drop_space(self, model: ModelId) -> None:
        """Remove an unsearched space with its retired vectors."""
        with self._lock:
            self._current.settle()
            if model not in self.spaces:
                return
            check_unsearched(model, self.count(model))
            self._retired.drop_space(model.fingerprint)
            self._current.drop_space(model)

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
            self._current.before_write(rows.nbytes * (1 + len(old_rows)), len(rows))
            versions = self._clock.take(len(item_ids))
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
                self._current.note(item_ids)
                self._shard.write(item_ids, payloads, space.fingerprint, rows)
            written = dict(zip(item_ids, versions.tolist(), strict=True))
            self._retired.forget_other_versions({name: written[name] for name in before})
            return versions

    def set_metadata(self, item_ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist."""
        check_ids(item_ids)
        check_metadata(metadata, len(item_ids))
        with self._lock:
            self._current.before_write(0, len(item_ids))
            there = self._shard.read(item_ids, keys=None)
            for item_id, row in zip(item_ids, metadata, strict=True):
                if item_id in there:
                    self._current.note([item_id])
                    stored = there[item_id].payload
                    content = payload(item_id, stored[VERSION], row)
                    self._shard.overwrite_payload(item_id, {**content, **makers_of(stored)})

    def delete(self, item_ids: Sequence[str]) -> int:
        """Remove items from every space."""
        check_ids(item_ids)
        with self._lock:
            self._current.before_write(0, len(item_ids))
            there = list(self._shard.read(item_ids, keys=[]))
            if there:
                with self._sides.changing(
                    arriving={}, leaving=self._sides.of(self._shard, there).values()
                ):
                    self._current.note(there)
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
            self._current.before_write(rows.nbytes, len(rows))
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
                self._current.note(going)
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
        return self._current.search(ready, k, where)

    def get(self, item_ids: Sequence[str]) -> list[ItemState | None]:
        """Read the state of items."""
        with self._lock:
            self._current.settle()
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
            self._current.settle()
            records = self._shard.read(item_ids, keys=[VERSION], vectors=[name])
            versions = {item_id: record.payload[VERSION] for item_id, record in records.items()}
            found = {
                item_id: record.vector[name]
                for item_id, record in records.items()
                if record.vector and name in record.vector
            }
            elsewhere = {key: version for key, version in versions.items() if key not in found}
            found.update(self._retired.get(name, elsewhere))
        return Found.of(
            [(name, versions[name], found[name]) for name in item_ids if name in found],
            space.dimension,
        )

    def scan(self, space: ModelId, *, after: str | None = None, limit: int = 1000) -> Page:
        """List items searched in `space`, in the order of their point ids."""
        check_limit(limit)
        with self._lock:
            check_space(self.spaces, space)
            self._current.settle()
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
            self._current.settle()
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
        self._current.optimise()

    def close(self) -> None:
        """Flush, release the folder."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                self._current.close()
            finally:
                self._retired.close()
                self._folder_lock.release()

    # Inside the lock

    @property
    def _shard(self) -> Shard:
        return self._current.shard

    @property
    def _sides(self) -> Sides:
        return self._current.sides
