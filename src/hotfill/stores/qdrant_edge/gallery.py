"""The embedded store: Qdrant Edge, on the local disk, no server."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import StoreError, StoreFullError
from hotfill.locks import FairLock, locked
from hotfill.stores.base import (
    Capabilities,
    Found,
    Gallery,
    ItemState,
    Page,
    StoreCost,
    check_unsearched,
)
from hotfill.stores.folder import FolderStamp, check_room, new_folder, read_stamp, write_stamp
from hotfill.stores.origin_files import OriginFiles
from hotfill.stores.qdrant_edge.kept_vectors import KeptVectors
from hotfill.stores.qdrant_edge.live_shard import (
    UNINDEXED_BYTES,
    LiveShard,
    check_opens,
    shard_folder,
    shard_name,
)
from hotfill.stores.qdrant_edge.shard import Shard, item_payload, metadata_of, parts
from hotfill.stores.qdrant_points import ID, SIDE, VERSION, is_made_by, made_by
from hotfill.stores.versions import LastingClock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from hotfill.locks import FolderLock
    from hotfill.stores.base import Hits, Metadata, Where
    from hotfill.stores.qdrant_edge.shard import Stored
    from hotfill.types import ModelId, Vectors

_LOOKED_AT_ONCE = 1000
_MOVED_AT_ONCE = 256  # other writes wait that long
_TRIES = 4  # readings without the lock, before one waits for writes


class QdrantEdgeGallery(Gallery):
    """A gallery in a folder. Make it with `create`, come back to it with `open`.

    In the folder: a subfolder with the engine's shard, `kept.sqlite` (old vectors kept for
    rollback), `spaces.json` (the stamp) and `lock` (one process at a time). What is acknowledged
    survives the killing of the process.

    A move first writes the earlier vectors to `kept.sqlite`, then each item in one write of its
    point, then takes vectors that are searched again out of `kept.sqlite`. Cut anywhere, it leaves
    each item whole on one side, with its other vectors.
    """

    def __init__(
        self, folder: Path, stamp: FolderStamp, lock: FolderLock, *, exact: bool, ef: int | None
    ) -> None:
        """Use `create` or `open`."""
        self._folder, self._folder_lock = folder, lock
        self._lock = FairLock()  # held by writes; searches and reads do without
        self._writes = 0  # changes after each write, before vectors leave `kept.sqlite`
        self._void: set[str] = set()  # items of which `kept.sqlite` may hold what nobody reads
        self._kept = KeptVectors(folder / "kept.sqlite")
        self._kept_read, self._kept_lock = KeptVectors(folder / "kept.sqlite"), Lock()
        self._clock = LastingClock(self._kept.version_ceiling, self._kept.raise_ceiling)
        try:
            self._live = LiveShard(folder, stamp, self._lock, exact=exact, ef=ef)
        except BaseException:
            self._kept.close()
            self._kept_read.close()
            raise

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
            Shard.create(folder / shard_name(0), model)
            stamp = FolderStamp(spaces=(model,), data=shard_name(0))
            write_stamp(folder, stamp)  # last: a folder without it was never finished
            return cls(folder, stamp, lock, exact=exact, ef=ef)

    @classmethod
    def open(cls, path: str | Path, *, exact: bool = False, ef: int | None = None) -> Self:
        """Open a gallery that `create` made.

        exact, ef: as for `create`; they hold while the gallery is open.
        Raises StoreError when the folder is no gallery or its stamp does not fit it,
        StoreBusyError when a process has it, StoreFullError when the disk has no room to play back
        what was written last. A gallery on a full disk can be searched.
        """
        folder = Path(path)
        read_stamp(folder)  # before anything is made in a folder that is not ours
        with locked(folder) as lock:
            stamp = read_stamp(folder)
            shard = shard_folder(folder, stamp)
            try:
                check_room(folder, 0)
            except StoreFullError:
                check_opens(shard)
            return cls(folder, stamp, lock, exact=exact, ef=ef)

    @cached_property
    def capabilities(self) -> Capabilities:
        """Item by item, one process; a search of several sides is one call of the engine."""
        return Capabilities(
            atomic_move=False,
            snapshot_reads=True,
            many_processes=False,
            free_length=True,
            unindexed_bytes=UNINDEXED_BYTES,
            cost=StoreCost(imputed=520, embedded=200, indexed=1000),
        )

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        return self._live.spaces

    def _origins(self) -> OriginFiles:
        return OriginFiles(self._folder / "origins")

    def _add_space(self, model: ModelId) -> None:
        with self._lock:
            if model not in self.spaces:
                self._live.add_space(model)

    def _drop_space(self, model: ModelId) -> None:
        with self._lock:
            if model not in self.spaces:
                return
            check_unsearched(model, self._count(model, None))
            self._live.shard.flush()  # or after a power cut items would be on that side again
            self._kept.drop_space(model.fingerprint)
            self._live.drop_space(model)

    # Writing

    def _before_write(self, n_bytes: int, n_items: int) -> None:
        if self._live.before_write(n_bytes, n_items):
            self._forget_void()

    def _forget_void(self) -> None:
        """Remove kept vectors that nobody reads any more.

        Only what a flush has brought to the disk makes them so: the engine does not wait for the
        disk, `kept.sqlite` does, and after a power cut an item is where it was before, and wants
        the vectors that it had there.
        """
        void, self._void = list(self._void), set()
        for part in (void[each] for each in parts(len(void), _LOOKED_AT_ONCE)):
            there = self._live.shard.read(part, keys=[SIDE, VERSION])
            self._kept.forget_void(
                {
                    item_id: (stored.payload[VERSION], stored.payload[SIDE])
                    if (stored := there.get(item_id)) is not None
                    else None
                    for item_id in part
                }
            )

    def _upsert(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        space: ModelId,
        metadata: Sequence[Metadata] | None,
        kept: Mapping[ModelId, Vectors],
    ) -> NDArray[np.int64]:
        with self._lock:
            self._before_write(vectors.nbytes * (1 + len(kept)), len(vectors))
            versions = self._clock.take(len(item_ids))
            before = self._live.shard.read(item_ids, keys=None if metadata is None else [SIDE])
            if metadata is None:
                metadata = [
                    metadata_of(before[item_id].payload) if item_id in before else {}
                    for item_id in item_ids
                ]
            self._kept.put(
                (item_id, model.fingerprint, int(versions[i]), rows[i])
                for model, rows in kept.items()
                for i, item_id in enumerate(item_ids)
            )
            payloads = [
                item_payload(item_id, int(version), space.fingerprint, row)
                for item_id, version, row in zip(item_ids, versions, metadata, strict=True)
            ]
            self._live.write(item_ids, payloads, space, vectors, before=before)
            self._writes += 1
            self._void.update(before)
            return versions

    def _set_metadata(self, item_ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        with self._lock:
            self._before_write(0, len(item_ids))
            there = self._live.shard.read(item_ids, keys=None)
            for item_id, row in zip(item_ids, metadata, strict=True):
                if item_id in there:
                    stored = there[item_id].payload
                    content = item_payload(item_id, stored[VERSION], stored[SIDE], row)
                    makers = {key: stored[key] for key in stored if is_made_by(key)}
                    self._live.overwrite_payload(item_id, {**content, **makers})

    def _delete(self, item_ids: Sequence[str]) -> int:
        with self._lock:
            self._before_write(0, len(item_ids))
            there = self._live.shard.read(item_ids, keys=[SIDE])
            if there:
                self._live.delete(there)
                self._writes += 1
                self._void.update(there)
            return len(there)

    def _move(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str,
    ) -> NDArray[np.bool_]:
        moved = np.empty(len(item_ids), dtype=np.bool_)
        for part in parts(len(item_ids), _MOVED_AT_ONCE):
            versions = expected_versions[part]
            moved[part] = self._move_part(item_ids[part], vectors[part], space, versions, origin)
        return moved

    def _move_part(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str,
    ) -> NDArray[np.bool_]:
        own = space.fingerprint
        transform = None if origin == own else origin
        with self._lock:
            self._before_write(vectors.nbytes, len(vectors))
            before = self._live.shard.read(item_ids, keys=None)
            moved = np.array(
                [
                    _may_move(before.get(item_id), version, own, transform)
                    for item_id, version in zip(item_ids, expected_versions.tolist(), strict=True)
                ],
                dtype=np.bool_,
            )
            if moved.any():
                going = {i: before[i] for i, goes in zip(item_ids, moved, strict=True) if goes}
                self._keep_searched(going, own)
                payloads = [_moved(stored.payload, own, transform) for stored in going.values()]
                self._live.write(list(going), payloads, space, vectors[moved], before=going)
                self._writes += 1
                if self._kept.may_hold(own):  # they are searched now
                    self._void.update(going)
            return moved

    def _keep_searched(self, going: Mapping[str, Stored], target: str) -> None:
        """Keep the vectors by which items are searched that are about to be searched elsewhere."""
        sides: dict[str, list[str]] = {}
        for item_id, stored in going.items():
            if stored.payload[SIDE] != target:
                sides.setdefault(stored.payload[SIDE], []).append(item_id)
        for side, item_ids in sides.items():
            found = self._live.shard.read(item_ids, keys=[], vectors=[side])
            rows = np.array([found[item_id].vectors[side] for item_id in item_ids], np.float32)
            self._kept.put(
                (item_id, side, going[item_id].payload[VERSION], row)
                for item_id, row in zip(item_ids, rows, strict=True)
            )

    # Reading

    def _search(
        self, queries: Mapping[ModelId, Vectors], k: int, where: Where | None
    ) -> dict[ModelId, Hits]:
        return self._live.search(queries, k, where)

    def _get(self, item_ids: Sequence[str]) -> list[ItemState | None]:
        records = self._live.read(lambda shard: shard.read(item_ids, keys=None))
        sides = self._live.sides(records)
        return [
            _state(item_id, records[item_id].payload, sides[item_id])
            if item_id in records
            else None
            for item_id in item_ids
        ]

    def _vectors(self, item_ids: Sequence[str], space: ModelId) -> Found:
        for _ in range(_TRIES):
            writes = self._writes
            found, whole = self._look_for(item_ids, space)
            if whole or writes == self._writes:
                return found
        with self._lock:
            return self._look_for(item_ids, space)[0]

    def _look_for(self, item_ids: Sequence[str], space: ModelId) -> tuple[Found, bool]:
        """Read vectors, and tell whether every item that exists has one.

        Searched ones are in the shard, others in a file. An item that moves back between the two
        readings is in neither.
        """
        name = space.fingerprint
        records = self._live.read(
            lambda shard: shard.read(item_ids, keys=[VERSION], vectors=[name])
        )
        versions = {item_id: record.payload[VERSION] for item_id, record in records.items()}
        found = {
            item_id: vectors[name]
            for item_id, record in records.items()
            if (vectors := record.vectors) and name in vectors
        }
        elsewhere = {key: version for key, version in versions.items() if key not in found}
        if elsewhere:
            with self._kept_lock:
                found.update(self._kept_read.get(name, elsewhere))
        rows = [(i, versions[i], found[i]) for i in item_ids if i in found]
        return Found.of(rows, space.dimension), len(found) == len(records)

    def _scan(self, space: ModelId, after: str | None, limit: int) -> Page:
        own, mark = space.fingerprint, made_by(space.fingerprint)
        records, cursor = self._live.read(lambda shard: shard.page(own, after=after, limit=limit))
        payloads = [record.payload for record in records]  # made anew at each look
        return Page(
            item_ids=tuple([content[ID] for content in payloads]),
            versions=np.array([content[VERSION] for content in payloads], dtype=np.int64),
            origins=tuple([content.get(mark, own) for content in payloads]),
            cursor=cursor,
        )

    def _count(self, space: ModelId, origin: str | None) -> int:
        own = space.fingerprint
        if origin is None:
            return self._live.count(space)
        if origin == own:
            return self._live.read(lambda shard: shard.count_own(own))
        return self._live.read(lambda shard: shard.count(own, made_by_transform=origin))

    def _sync(self) -> None:
        with self._lock:
            self._live.shard.flush()
            self._forget_void()

    def abandon_building(self) -> None:
        """End the process that builds; the shard in use stays."""
        self._live.abandon()

    def _optimise(self) -> None:
        """Build the engine's indexes and compact, on a copy and in a process of its own.

        Needs room for a second copy of the shard. Writes wait while the files are copied and,
        for a moment, at the end. Small galleries, for which the engine builds no index, are
        compacted in place.
        """
        self._live.optimise()

    def _index_moved(self) -> None:
        """As `_optimise`, but leave graphs alone while half of what they lead to is there."""
        self._live.optimise(moving=True)

    def _indexed(self, space: ModelId) -> float | None:
        return self._live.indexed(space)

    def _close(self) -> None:
        with self._lock:
            try:
                if self._void:
                    with suppress(StoreError):  # a full disk: they stay, and are in nobody's way
                        self._sync()
                self._live.close()
            finally:
                self._kept.close()
                with self._kept_lock:
                    self._kept_read.close()
                self._folder_lock.release()


def _may_move(record: Stored | None, version: int, space: str, transform: str | None) -> bool:
    """Tell whether an item still has the content meant, and a better vector is offered."""
    if record is None or record.payload[VERSION] != version:
        return False
    own_already = record.payload[SIDE] == space and made_by(space) not in record.payload
    return transform is None or not own_already


def _moved(stored: dict[str, Any], space: str, transform: str | None) -> dict[str, Any]:
    """Return the payload of an item after its move. A transform's vector is always marked."""
    content = {key: value for key, value in stored.items() if key != made_by(space)}
    content[SIDE] = space
    return content if transform is None else {**content, made_by(space): transform}


def _state(item_id: str, stored: dict[str, Any], space: ModelId) -> ItemState:
    return ItemState(
        item_id=item_id,
        version=stored[VERSION],
        space=space,
        origin=stored.get(made_by(space.fingerprint), space.fingerprint),
        metadata=metadata_of(stored),
    )
