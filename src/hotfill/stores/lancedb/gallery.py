"""The store in LanceDB: one table, one row per item, a column of vectors per space."""

from __future__ import annotations

import os
from functools import cached_property
from threading import Lock, RLock
from typing import TYPE_CHECKING

import numpy as np

from hotfill.errors import InputError, StoreError
from hotfill.locks import locked
from hotfill.stores.base import (
    Capabilities,
    Found,
    Gallery,
    Hits,
    ItemState,
    Page,
    StoreCost,
    check_unsearched,
)
from hotfill.stores.lancedb.client import (
    checked_folder,
    connect,
    existing_table,
    has_table,
    lock_folder,
    open_table,
    translated,
)
from hotfill.stores.lancedb.filter import is_number, text
from hotfill.stores.lancedb.layout import ORIGIN, new_schema, pa, stamp_table
from hotfill.stores.lancedb.row_builder import (
    metadata_columns,
    moved_columns,
    replaced,
    written_rows,
)
from hotfill.stores.lancedb.snapshot import Walk, search_side
from hotfill.stores.lancedb.table import LanceTable, indexed_share
from hotfill.stores.origin_files import OriginFiles
from hotfill.stores.versions import LastingClock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Self

    from numpy.typing import NDArray

    from hotfill.locks import FolderLock
    from hotfill.stores.base import Metadata, Where
    from hotfill.stores.lancedb.snapshot import TableSnapshot
    from hotfill.types import ModelId, Vectors


class LanceDBGallery(Gallery):
    """A gallery in a table. Make it with `create`, take one over with `adopt`, or `open` it.

    A write is one commit of the table, so it is there whole or not at all. Reads and searches look
    at one version of the table from beginning to end; writes do not disturb them. A vector that is
    no longer searched stays in its column until its space is dropped.

    One process at a time writes, which a lock next to the table sees to; programs that know nothing
    of hotfill may read the table at any time, and must not write to it.
    """

    def __init__(self, folder: Path, table: str, lock: FolderLock, *, exact: bool) -> None:
        """Use `create`, `adopt` or `open`."""
        self._folder_lock = lock
        self._beside = lock_folder(folder, table)
        self._exact = exact
        self._lock = RLock()  # held by writes; searches and reads look at one version
        self._walk, self._walk_lock = Walk(), Lock()
        self._table = LanceTable(folder, table, exact=exact)
        self._clock = LastingClock(self._seen.layout.ceiling, self._table.raise_ceiling)

    @classmethod
    def create(
        cls,
        path: str | Path,
        model: ModelId,
        *,
        table: str = "items",
        exact: bool = False,
    ) -> Self:
        """Make an empty gallery: a new table in a folder, stamped with its first model.

        exact: compare with every vector, whether there is an index or not.
        Raises StoreError when there is such a table.
        """
        folder = checked_folder(path, table)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(lock_folder(folder, table)) as lock:
            database = connect(folder)
            with translated("create the table"):
                if has_table(folder, table):
                    raise StoreError(f"{folder} has a table {table!r}: open it, or name another")
                database.create_table(table, schema=new_schema(model))
            return cls(folder, table, lock, exact=exact)

    @classmethod
    def adopt(
        cls,
        path: str | Path,
        model: ModelId,
        *,
        table: str = "items",
        id_column: str = "id",
        vector_column: str = "vector",
        exact: bool = False,
    ) -> Self:
        """Take over a table that is there: note that `model` made its vectors. Idempotent.

        id_column: of texts or whole numbers, unique. vector_column: of the model's dimension,
            float32 or float16. Columns of texts, numbers and booleans are its metadata.
        The table is neither copied nor altered, but for two notes in its schema; `add_space` adds
        columns to it. A row without a vector is no item.
        Raises StoreError when the table does not fit.
        """
        folder = existing_table(path, table)
        with locked(lock_folder(folder, table)) as lock:
            found = open_table(connect(folder), folder, table)
            stamp_table(found, model, name=table, id_column=id_column, vector_column=vector_column)
            return cls(folder, table, lock, exact=exact)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        table: str = "items",
        exact: bool = False,
    ) -> Self:
        """Open a gallery. exact: as for `create`; it holds while the gallery is open.

        Raises StoreError when there is no such gallery, StoreBusyError when a process has it.
        """
        folder = existing_table(path, table)
        with locked(lock_folder(folder, table)) as lock:
            return cls(folder, table, lock, exact=exact)

    @cached_property
    def capabilities(self) -> Capabilities:
        """Whole batches move at once, searches see one moment, one process."""
        return Capabilities(
            atomic_move=True,
            snapshot_reads=True,
            many_processes=False,
            free_length=True,
            cost=StoreCost(imputed=490, embedded=1360, indexed=30),
        )

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        return self._seen.layout.spaces

    def _origins(self) -> OriginFiles:
        return OriginFiles(self._beside / "origins")

    def _add_space(self, model: ModelId) -> None:
        with self._lock:
            self._check_open()
            self._table.prepare()
            if model not in self.spaces:
                self._table.add_space(model)

    def _drop_space(self, model: ModelId) -> None:
        with self._lock:
            self._check_open()
            if model in self.spaces:
                check_unsearched(model, self._count(model, None))
                self._table.drop_space(model)

    # Writing

    def _upsert(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        space: ModelId,
        metadata: Sequence[Metadata] | None,
        kept: Mapping[ModelId, Vectors],
    ) -> NDArray[np.int64]:
        with self._lock:
            self._check_fit(item_ids)
            with self._writing(vectors.nbytes * (1 + len(kept)), len(item_ids)):
                versions = self._clock.take(len(item_ids))
                self._table.make_columns(metadata)
                layout = self._seen.layout
                before = self._seen.rows(item_ids, layout.beside())
                fresh = written_rows(
                    layout,
                    item_ids,
                    before,
                    self._seen.places(before),
                    versions=versions,
                    space=space,
                    vectors={space: vectors, **kept},
                    metadata=metadata,
                )
                self._table.write(fresh, new=not len(before))
            return versions

    def _set_metadata(self, item_ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        with self._lock, self._writing(0, len(item_ids)):
            self._table.make_columns(metadata)
            layout = self._seen.layout
            rows = self._seen.rows(item_ids, layout.schema.names, layout.items())
            if len(rows):
                given = dict(zip(item_ids, metadata, strict=True))
                wanted = [given[item_id] for item_id in self._seen.places(rows)]
                self._table.write(replaced(rows, metadata_columns(layout, wanted, rows)), new=False)

    def _delete(self, item_ids: Sequence[str]) -> int:
        with self._lock, self._writing(0, len(item_ids)):
            layout = self._seen.layout
            rows = self._seen.rows(item_ids, [layout.item_id], layout.items())
            there = list(self._seen.places(rows))
            self._table.delete(there)
            return len(there)

    def _move(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str,
    ) -> NDArray[np.bool_]:
        own = space.fingerprint
        with self._lock:
            moved = np.zeros(len(item_ids), dtype=np.bool_)
            with self._writing(vectors.nbytes, len(item_ids)):
                seen = self._seen
                rows = seen.rows(item_ids, seen.layout.schema.names, seen.layout.items())
                versions, spaces, origins = seen.own_columns(rows)
                asked = {item_id: place for place, item_id in enumerate(item_ids)}
                order = np.array([asked[name] for name in seen.places(rows)], dtype=np.int64)
                going = versions == expected_versions[order]
                if origin != own:  # the model's own vector is better than any transform's
                    going &= ~((spaces == own) & (origins == own))
                if going.any():
                    columns = moved_columns(
                        seen.layout, int(going.sum()), space, origin, vectors[order[going]]
                    )
                    fresh = replaced(rows.filter(pa.array(going)), columns)
                    self._table.write(fresh, new=False)
                    moved[order[going]] = True
            return moved

    # Reading

    def _search(
        self, queries: Mapping[ModelId, Vectors], k: int, where: Where | None
    ) -> dict[ModelId, Hits]:
        seen = self._seen
        return {
            space: search_side(seen, space, rows, k, where, exact=self._exact)
            for space, rows in queries.items()
        }

    def _get(self, item_ids: Sequence[str]) -> list[ItemState | None]:
        return self._seen.states(item_ids)

    def _vectors(self, item_ids: Sequence[str], space: ModelId) -> Found:
        return self._seen.found(item_ids, space)

    def _scan(self, space: ModelId, after: str | None, limit: int) -> Page:
        with self._walk_lock:
            return self._walk.page(self._seen, space, after, limit)

    def _count(self, space: ModelId, origin: str | None) -> int:
        seen = self._seen
        if origin is None:
            return seen.count(seen.layout.side(space))
        if not seen.layout.prepared:
            return seen.count(seen.layout.side(space)) if origin == space.fingerprint else 0
        return seen.count(f"{seen.layout.side(space)} AND {ORIGIN} = {text(origin)}")

    def abandon_building(self) -> None:
        """End the process that builds; what it was about is built by the next call."""
        self._table.abandon()

    def _sync(self) -> None:
        """Have the system write all that it holds: LanceDB syncs none of its files."""
        os.sync()

    def _optimise(self) -> None:
        """Compact, build indexes where there are many items, and forget versions of long ago.

        Searches go on; writes wait while files are put together, and go on while an index of the
        vectors of 50,000 items or more is built. Writes see to the same from time to time.
        """
        self._table.optimise(self._lock)

    def _indexed(self, space: ModelId) -> float | None:
        seen = self._seen
        return None if self._exact else indexed_share(seen.table, seen.layout, space)

    def _close(self) -> None:
        with self._lock:
            self._folder_lock.release()

    @property
    def _seen(self) -> TableSnapshot:
        return self._table.seen

    # Inside the lock

    def _writing(self, n_bytes: int, n_items: int) -> AbstractContextManager[None]:
        self._check_open()
        return self._table.writing(n_bytes, n_items)

    def _check_fit(self, item_ids: Sequence[str]) -> None:
        if self._seen.layout.ids_are_numbers:
            for item_id in item_ids:
                if not is_number(item_id):
                    raise InputError(f"the table's ids are whole numbers; {item_id!r} is none")
