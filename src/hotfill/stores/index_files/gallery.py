"""The store of people who hold their own index files: FAISS in memory, the truth in SQLite."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from threading import Event, Lock, RLock
from typing import TYPE_CHECKING

import numpy as np

from hotfill.errors import InputError, StoreError
from hotfill.locks import locked
from hotfill.stores.base import (
    Building,
    Capabilities,
    Found,
    Gallery,
    Hits,
    ItemState,
    Page,
    StoreCost,
    check_space,
    check_unsearched,
)
from hotfill.stores.folder import check_room, new_folder
from hotfill.stores.index_files.adoption import fill_from_index
from hotfill.stores.index_files.sides import (
    TRUTH,
    Sides,
    adopt_graph,
    build_index,
    needs_index,
    remove_other_files,
    wants_index,
)
from hotfill.stores.index_files.truth import Truth, make
from hotfill.stores.long_work import InHand, check_wanted
from hotfill.stores.origin_files import OriginFiles
from hotfill.stores.versions import VersionClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from hotfill.locks import FolderLock
    from hotfill.stores.filters import Metadata, Where
    from hotfill.stores.index_files.index import Kind
    from hotfill.types import ModelId, Vectors


class IndexFilesGallery(Gallery):
    """A gallery in a folder. Make it with `create`, come back to it with `open`.

    All vectors that are searched live in memory, with the ids; opening reads them. In the
    folder: `truth.sqlite`, which has everything that was acknowledged and survives the killing of
    the process and a power cut; `index-*.faiss`, built by `optimise` so that opening need not
    build them again, and of no consequence when lost; `lock` (one process at a time).
    """

    def __init__(self, folder: Path, lock: FolderLock, *, kind: Kind, ef: int | None) -> None:
        """Use `create` or `open`."""
        self._folder, self._folder_lock = folder, lock
        self._kind, self._ef = kind, ef
        self._lock = RLock()  # held by whoever changes something
        self._optimising = Lock()
        self._building: Building | None = None
        self._in_hand = InHand()  # an index that is built
        self._truth = Truth(folder / TRUTH)
        try:
            if not self._truth.spaces:
                raise StoreError(f"{folder} was never finished: remove it, and create it again")
            # Who reads has a connection alone, and waits for nobody who writes.
            self._readers, self._taking = [Truth(folder / TRUTH)], Lock()
            self._clock = VersionClock(floor=self._truth.last_version)
            remove_other_files(folder, self._truth)
            self._sides = Sides(folder, self._truth, kind)
        except BaseException:
            self._truth.close()
            raise

    @classmethod
    def create(
        cls,
        path: str | Path,
        model: ModelId,
        *,
        index: Kind = "flat",
        exact: bool = False,
        ef: int | None = None,
    ) -> Self:
        """Make an empty gallery in a new or empty folder, stamped with its first model.

        index: how large sides are searched: "flat" compares with all vectors, "hnsw" walks along a
            graph, "ivf" looks into the nearest parts. `optimise` builds the latter two.
        exact: the same as index = "flat".
        ef: how many candidates a walk along a graph keeps; 64 when None.
        Raises StoreError when the folder holds something.
        """
        folder = new_folder(path)
        with locked(folder) as lock:
            make(folder / TRUTH)
            truth = Truth(folder / TRUTH)
            truth.add_space(model)
            truth.close()
            return cls(folder, lock, kind="flat" if exact else index, ef=ef)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        index: Kind = "flat",
        exact: bool = False,
        ef: int | None = None,
    ) -> Self:
        """Open a gallery. Options: as for `create`; they hold while the gallery is open.

        Raises StoreError when the folder is no gallery, StoreBusyError when a process has it.
        """
        folder = Path(path)
        if not (folder / TRUTH).is_file():
            raise StoreError(f"{folder} is not a hotfill gallery: it has no {TRUTH}; create one")
        with locked(folder) as lock:
            check_room(folder, 0)
            return cls(folder, lock, kind="flat" if exact else index, ef=ef)

    @classmethod
    def adopt(
        cls,
        path: str | Path,
        model: ModelId,
        *,
        index_file: str | Path,
        ids_file: str | Path | None = None,
        index: Kind = "flat",
        exact: bool = False,
        ef: int | None = None,
        told: Callable[[int, int, str], None] = lambda done, total, what: None,
    ) -> Self:
        """Make a gallery in a new folder from an index file of FAISS, whose vectors `model` made.

        index_file: read, and neither altered nor needed afterwards; see `adoption` for the kinds.
        ids_file: the items' ids in the order in which they were added, as `adoption.read_ids`
            says. Without it the index's own labels are the ids, or else its row numbers.
        told: how far it is: items done, of how many, and what is done with them.
        With index = "hnsw" the graph of an HNSW index is taken over; else one is built.
        Idempotent, also after a crash half-way. Other options: as for `create`.
        Raises StoreError and InputError when the files do not fit the model or each other.
        """
        folder = Path(path)
        if not (folder / TRUTH).is_file():
            fill_from_index(
                folder,
                Path(index_file),
                None if ids_file is None else Path(ids_file),
                model,
                lambda place: cls.create(place, model),
                told,
            )
        gallery = cls.open(folder, index=index, exact=exact, ef=ef)
        if model not in gallery.spaces:
            gallery.close()
            held = ", ".join(map(str, gallery.spaces))
            raise StoreError(f"{folder} is a gallery of {held} already: start an upgrade of it")
        gallery._take_graph(model, Path(index_file))
        gallery._build_indexes(lambda now: told(now.done, now.total, "building the index"))
        return gallery

    @cached_property
    def capabilities(self) -> Capabilities:
        """Whole batches move at once, searches see one moment, one process."""
        return Capabilities(
            atomic_move=True,
            snapshot_reads=True,
            many_processes=False,
            free_length=True,
            cost=StoreCost(imputed=170, embedded=200, indexed=0 if self._kind == "flat" else 700),
        )

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        return tuple(self._truth.spaces)

    def _origins(self) -> OriginFiles:
        return OriginFiles(self._folder / "origins")

    def _add_space(self, model: ModelId) -> None:
        with self._lock:
            self._ready_to_write(0)
            if model not in self.spaces:
                self._truth.add_space(model)
                self._sides.add(model)

    def _drop_space(self, model: ModelId) -> None:
        with self._lock:
            self._check_open()
            check_unsearched(model, self._count(model, None))
            self._truth.drop_space(model)
            self._sides.drop(model)
            remove_other_files(self._folder, self._truth)

    def _upsert(
        self,
        item_ids: list[str],
        vectors: Vectors,
        space: ModelId,
        metadata: Sequence[Metadata] | None,
        kept: Mapping[ModelId, Vectors],
    ) -> NDArray[np.int64]:
        with self._lock:
            self._ready_to_write(vectors.nbytes * (1 + len(kept)), space, *kept)
            versions = self._clock.take(len(item_ids))
            self._truth.write(item_ids, versions, space, {space: vectors, **kept}, metadata)
            self._sides.put(item_ids, vectors, space)
            return versions

    def _set_metadata(self, item_ids: list[str], metadata: Sequence[Metadata]) -> None:
        with self._lock:
            self._ready_to_write(0)
            self._truth.set_metadata(item_ids, metadata)

    def _delete(self, item_ids: list[str]) -> int:
        with self._lock:
            self._ready_to_write(0)
            there = self._truth.rows(item_ids)
            self._truth.delete([row.number for row in there.values()])
            self._sides.remove(there)
            return len(there)

    def _move(
        self,
        item_ids: list[str],
        vectors: Vectors,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str,
    ) -> NDArray[np.bool_]:
        own = space.fingerprint
        with self._lock:
            self._ready_to_write(vectors.nbytes, space)
            found = self._truth.rows(item_ids)
            moved = np.zeros(len(item_ids), dtype=np.bool_)
            for at, item_id in enumerate(item_ids):
                row = found.get(item_id)
                if row is not None and row.version == expected_versions[at]:
                    # The model's own vector is better than any transform's.
                    moved[at] = origin == own or not (row.space == space and row.origin == own)
            going = [item_ids[at] for at in np.flatnonzero(moved).tolist()]
            if going:
                numbers = [found[item_id].number for item_id in going]
                self._truth.move(numbers, space, origin, vectors[moved])
                self._sides.put(going, vectors[moved], space, origin)
            return moved

    def _search(
        self, queries: Mapping[ModelId, Vectors], k: int, where: Where | None
    ) -> dict[ModelId, Hits]:
        """Search all sides in one turn; a filter is looked up in the truth just before."""
        passing = None
        if where:
            with self._asking() as truth:
                passing = truth.passing(where)
        if self._sides.behind:
            with self._lock:
                self._sides.catch_up()
        return self._sides.search(queries, k, self._ef, passing)

    def _get(self, item_ids: list[str]) -> list[ItemState | None]:
        with self._asking() as truth:
            rows = truth.rows(item_ids)
        return [
            ItemState(item_id, row.version, row.space, row.origin, row.metadata)
            if (row := rows.get(item_id)) is not None
            else None
            for item_id in item_ids
        ]

    def _vectors(self, item_ids: list[str], space: ModelId) -> Found:
        with self._asking(space) as truth:
            rows = truth.rows(item_ids)
            found = truth.vectors([row.number for row in rows.values()], space)
        there = [(name, rows[name]) for name in item_ids if name in rows]
        return Found.of(
            [(name, row.version, found[row.number]) for name, row in there if row.number in found],
            space.dimension,
        )

    def _scan(self, space: ModelId, after: str | None, limit: int) -> Page:
        """List in the order in which the items first came."""
        try:
            last = -1 if after is None else int(after)
        except ValueError as error:
            raise InputError(f"after: {after!r} is not a cursor that scan returned") from error
        with self._asking(space) as truth:
            rows = truth.page(space, last, limit)
        return Page(
            item_ids=tuple(item_id for _, item_id, _, _ in rows),
            versions=np.array([version for _, _, version, _ in rows], dtype=np.int64),
            origins=tuple(origin for _, _, _, origin in rows),
            cursor=str(rows[-1][0]) if len(rows) == limit else None,
        )

    def _count(self, space: ModelId, origin: str | None) -> int:
        if origin is not None:
            with self._asking(space) as truth:
                return truth.count(space, origin)
        if self._sides.behind:
            with self._lock:
                self._sides.catch_up()
        self._check_open()
        return self._sides.size(space)

    @property
    def building(self) -> Building | None:
        """The index that is built now."""
        return self._building

    def abandon_building(self) -> None:
        """Give up the index that is built now, after the thousand of vectors in hand."""
        self._in_hand.give_up()

    def _optimise(self) -> None:
        """Build indexes over large sides, and give unused pages of the truth back to the disk.

        Building takes memory for the side's vectors twice more until it is done.
        """
        self._build_indexes(lambda now: None)

    def _take_graph(self, space: ModelId, index_file: Path) -> None:
        """Use the graph of an index file whose vectors are those of a side, if there is one."""
        with self._optimising, self._lock:
            side = self._sides.get(space)
            if self._kind != "hnsw" or side is None or not wants_index(side, self._kind):
                return
            check_room(self._folder, 4 * len(side) * space.dimension)
            taken = adopt_graph(self._folder, space, index_file)
            if taken is not None:
                self._truth.note_built(space, *taken)
                self._sides.renew(space)

    def _build_indexes(self, told: Callable[[Building], None]) -> None:
        with self._optimising, self._in_hand.taken() as given_up:
            for space in self.spaces:
                with self._lock:
                    self._ready_to_write(0)
                    side = self._sides.get(space)
                    if side is None or not wants_index(side, self._kind):
                        continue
                    check_room(self._folder, 4 * len(side) * space.dimension)
                try:
                    total, began = len(side), time.monotonic()
                    tell = partial(self._built_so_far, given_up, total, began, told)
                    tell(0)
                    name, at = build_index(self._folder, space, self._kind, tell)
                finally:
                    self._building = None
                with self._lock:
                    self._check_open()
                    if space in self.spaces:
                        self._truth.note_built(space, name, at)
                        self._sides.renew(space)
            with self._lock:
                self._check_open()
                remove_other_files(self._folder, self._truth)
                self._truth.tidy()

    def _built_so_far(
        self,
        given_up: Event,
        total: int,
        began: float,
        told: Callable[[Building], None],
        done: int,
    ) -> None:
        # Writes go on until the building begins to read, so that there may be some more by then.
        self._building = Building(done, max(total, done), time.monotonic() - began)
        told(self._building)
        check_wanted(given_up)

    def _indexed(self, space: ModelId) -> float | None:
        with self._lock:
            self._check_open()
            check_space(self.spaces, space)
            self._sides.catch_up()
            side = self._sides.get(space)
            if side is None or not needs_index(side, self._kind):
                return None
            return side.share_built

    def _close(self) -> None:
        with self._lock, self._taking:
            for reader in self._readers:
                reader.close()
            self._readers.clear()
            self._truth.close()
            self._folder_lock.release()

    @contextmanager
    def _asking(self, *spaces: ModelId) -> Iterator[Truth]:
        """See the truth at one moment, whatever others write. spaces: must be there."""
        with self._taking:
            self._check_open()
            reader = self._readers.pop() if self._readers else Truth(self._folder / TRUTH)
        try:
            with reader.reading():
                for space in spaces:
                    check_space(tuple(reader.spaces), space)
                yield reader
        finally:
            with self._taking:
                if self._closed:
                    reader.close()
                else:
                    self._readers.append(reader)

    # Inside the lock

    def _ready_to_write(self, n_bytes: int, *spaces: ModelId) -> None:
        """Raise unless there is room and the spaces are still there; bring the sides up to date."""
        self._check_open()
        for space in spaces:
            check_space(self.spaces, space)
        check_room(self._folder, n_bytes)
        self._sides.catch_up()
