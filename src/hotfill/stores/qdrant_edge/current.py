"""The shard in use: which one it is, how many items its sides hold, how another takes its place."""

from __future__ import annotations

import shutil
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from hotfill.errors import StoreError
from hotfill.stores.base import Hits
from hotfill.stores.qdrant_edge.rebuild import copy_shard, rebuild
from hotfill.stores.qdrant_edge.shard import Shard
from hotfill.stores.qdrant_edge.sides import Sides
from hotfill.stores.room import check_room
from hotfill.stores.stamp_file import Stamp, read_stamp, write_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from hotfill.stores.base import Where
    from hotfill.types import ModelId, Vectors

SMALL_BYTES = 8 * 2**20  # of vectors; the engine builds indexes from some 20 MB on
_FLUSHED_AFTER = 50_000  # items: opening after a crash plays back at most this many, in seconds
_CARRIED_AT_ONCE = 500  # items; searches and writes wait for each such part


class Current:
    """A folder's shard in use, with its stamp and the counts of its sides.

    lock: the gallery's. All methods need it but `search`, and `optimise`, which takes it for as
        long as it must.
    """

    def __init__(
        self,
        folder: Path,
        stamp: Stamp,
        lock: AbstractContextManager[object],
        *,
        exact: bool,
        ef: int | None,
    ) -> None:
        self._folder, self._lock = folder, lock
        self._exact, self._ef = exact, ef
        self._stamp = stamp
        self._optimising = Lock()
        self._written: set[str] | None = None  # what to carry over to a shard being rebuilt
        self._unflushed = 0  # items written since the engine's log was last shortened
        self.sides = Sides()
        self.shard = Shard.load(folder / stamp.data, exact=exact, ef=ef)
        self.settle()

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        return self._stamp.spaces

    def add_space(self, model: ModelId) -> None:
        """Add a named vector to the shard, then stamp the folder."""
        self.shard.add_space(model)
        self._restamp(Stamp((*self.spaces, model), self._stamp.data))
        self.sides.distrust()

    def drop_space(self, model: ModelId) -> None:
        """Stamp the folder without a space, then remove its vectors."""
        remaining = tuple(space for space in self.spaces if space != model)
        self._restamp(Stamp(remaining, self._stamp.data))
        self.sides.distrust()
        self.shard.drop_space(model)

    def settle(self) -> None:
        """Bring every item to one side, if a write may have stopped half-way."""
        self.sides.settle(self.shard, self.spaces)

    def before_write(self, n_bytes: int, n_items: int) -> None:
        """See that a write has room, and that opening would not take long after it."""
        check_room(self._folder, n_bytes)
        self.settle()
        self._unflushed += n_items
        if self._unflushed > _FLUSHED_AFTER:
            self.shard.flush()
            self._unflushed = n_items

    def note(self, item_ids: Iterable[str]) -> None:
        """Remember what a shard that is being rebuilt does not have yet."""
        if self._written is not None:
            self._written.update(item_ids)

    def search(
        self, queries: Mapping[ModelId, Vectors], k: int, where: Where | None
    ) -> dict[ModelId, Hits]:
        """Search all sides in one call of the engine; sides without items are left out of it."""
        while True:
            shard, counts = self.shard, self.sides.counts
            filled = {space: rows for space, rows in queries.items() if counts.get(space)}
            try:
                found = shard.search(filled, k, where) if filled else {}
            except StoreError:
                if shard is self.shard:
                    raise
                continue  # a rebuilt shard took its place
            # A side that was empty may have taken items from one that was searched after that.
            counts = self.sides.counts
            if all(space in filled or not counts.get(space) for space in queries):
                break
        n = max(map(len, queries.values()), default=0)
        nothing = Hits(item_ids=((),) * n, scores=(np.empty(0, dtype=np.float32),) * n)
        return {space: found.get(space, nothing) for space in queries}

    def optimise(self) -> None:
        """Rebuild a large shard next to this one, and change over; compact a small one in place."""
        with self._optimising:
            with self._lock:
                self.settle()
                size = sum(4 * n * space.dimension for space, n in self.sides.counts.items())
                if size < SMALL_BYTES:
                    self.shard.optimise()
                    return
                self.shard.flush()
                number = int(self._stamp.data.rpartition("-")[2]) + 1
                fresh, spaces = self._folder / data_name(number), self.spaces
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
                self.settle()
                written = self._written or set()
                part = [written.pop() for _ in range(min(_CARRIED_AT_ONCE, len(written)))]
                for model in self.spaces:
                    successor.add_space(model)
                successor.copy_items(part, self.shard)
                if written:
                    continue  # and let others have a turn
                for model in spaces:
                    if model not in self.spaces:
                        successor.drop_space(model)
                successor.flush()
                before, left = self.shard, self._folder / self._stamp.data
                self._restamp(Stamp(spaces=self.spaces, data=fresh.name))
                self.shard, self._written = successor, None
                before.close()
            shutil.rmtree(left, ignore_errors=True)
            return

    def close(self) -> None:
        """Flush and close the shard."""
        self.shard.flush()
        self.shard.close()

    def _restamp(self, stamp: Stamp) -> None:
        write_stamp(self._folder, stamp)
        self._stamp = stamp


def data_name(number: int | str) -> str:
    """Name the subfolder of a shard."""
    return f"shard-{number}"
