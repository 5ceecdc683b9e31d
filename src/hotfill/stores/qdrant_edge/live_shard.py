"""The shard in use: which one it is, how many items its sides hold, how another takes its place."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import replace
from operator import methodcaller
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from hotfill.errors import StoreError, StoreFullError
from hotfill.stores.base import Hits
from hotfill.stores.folder import FolderStamp, check_room, read_stamp, write_stamp
from hotfill.stores.long_work import InHand, check_wanted, run_apart
from hotfill.stores.qdrant_edge.shard import Shard, set_thoroughness
from hotfill.stores.qdrant_points import SIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from threading import Event
    from typing import Any, TypeVar

    from hotfill.stores.base import Where
    from hotfill.types import ModelId, Vectors

    T = TypeVar("T")

UNINDEXED_BYTES = 32 * 2**20
"""Of vectors: searches compare as many one by one in a few milliseconds. With more of them an index
takes less altogether, and searches take the time of the process that builds it."""

SMALL_BYTES = 8 * 2**20  # of vectors
_INDEXED_FROM_BYTES = 10_240_000  # the engine builds an index from here on (seen with 0.9.0)
_FLUSHED_AFTER = 50_000  # items: opening after a crash plays back at most this many, in seconds
_CARRIED_AT_ONCE = 500  # items; searches and writes wait for each such part
_NEARLY_ALL = 0.95
_GAPS_NOTED = 0.1  # more of a graph gone is written down
# A graph of the engine does not lead past what has gone from it (0.9.0, 60,000 x 384: it finds .99
# of the ten nearest with 30 % gone, .97 with 50 %, .52 with 80 %, .01 with 95 %).
_GAPS = 0.3  # share gone from which searches look for ways around
_GAPS_IN_USE = 0.5  # share gone from which a graph is built anew while items move,
_GAPS_LEFT = 0.9  # and on a side that they leave, of which a new one would not be for long
_SHARD_NAME = re.compile(r"shard-(0|[1-9][0-9]*)")


class LiveShard:
    """A folder's shard in use, with its stamp and the counts of its sides.

    lock: the gallery's. Writes need it, and `optimise` takes it for as long as it must. `search`
        and `read` do without.
    counts: items searched in each space; replaced, never changed. Never zero for a side that may
        hold an item: a search that finds the count zero before and after it looked elsewhere has
        missed nothing.
    """

    def __init__(
        self,
        folder: Path,
        stamp: FolderStamp,
        lock: AbstractContextManager[object],
        *,
        exact: bool,
        ef: int | None,
    ) -> None:
        """Open the shard that a stamp names; see that it fits; then remove other shards.

        Others are what an `optimise` left that a crash cut short. Raises StoreError, and removes
        nothing, when the stamp does not fit the folder.
        """
        self._folder, self._lock = folder, lock
        self._exact, self._ef = exact, ef
        self._stamp = stamp
        self._optimising = Lock()
        self._in_hand = InHand()  # a rebuild
        self._written: set[str] | None = None  # what to carry over to a shard being rebuilt
        self._unflushed = 0  # items written since the engine's log was last shortened
        self._torn = True  # whether a write may have stopped half-way: then count, do not trust
        self.counts: Mapping[ModelId, int] = {}
        self._finished: Mapping[ModelId, int] = {}  # counts as of the last write that is done
        self._gone = Counter(dict(stamp.gone))  # out of each side's graphs, by fingerprint
        self._gone_since_copied: Counter[str] = Counter()
        self.shard = Shard.load(shard_folder(folder, stamp), exact=exact, ef=ef)
        try:
            for model in stamp.spaces:
                self.shard.check_space(model)
            self.settle()
        except BaseException:
            self.shard.close()
            raise
        self._number = max(map(_number_of, [stamp.data, *(path.name for path in _shards(folder))]))
        for path in _shards(folder):
            if path.name != stamp.data:
                shutil.rmtree(path, ignore_errors=True)

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        return self._stamp.spaces

    def add_space(self, model: ModelId) -> None:
        """Add a named vector to the shard, then stamp the folder."""
        self.shard.add_space(model)
        self._restamp(replace(self._stamp, spaces=(*self.spaces, model)))
        self._finished, self._torn = {}, True

    def drop_space(self, model: ModelId) -> None:
        """Stamp the folder without a space, then remove its vectors."""
        remaining = tuple(space for space in self.spaces if space != model)
        self._restamp(replace(self._stamp, spaces=remaining))
        self._finished, self._torn = {}, True
        self.shard.drop_space(model)

    # Writing

    def settle(self) -> None:
        """Count the items of each side, if a write may have stopped half-way."""
        if self._torn:
            self.counts = {space: self.shard.count(space.fingerprint) for space in self.spaces}
            self._finished, self._torn = self.counts, False

    def before_write(self, n_bytes: int, n_items: int) -> bool:
        """See that a write has room, and that opening would not take long after it.

        Tells whether all that was written before has been brought to the disk for that.
        """
        check_room(self._folder, n_bytes)
        self.settle()
        self._unflushed += n_items
        if self._unflushed <= _FLUSHED_AFTER:
            return False
        self.shard.flush()
        self._unflushed = n_items
        return True

    def write(
        self,
        item_ids: Sequence[str],
        payloads: Sequence[dict[str, Any]],
        space: ModelId,
        rows: Vectors,
        *,
        before: Mapping[str, Any],
    ) -> None:
        """Write whole items of one side. before: the records of those that exist."""
        self._note(item_ids)
        with self._changing(arriving={space: len(item_ids)}, leaving=self.sides(before)):
            self.shard.write(item_ids, payloads, space.fingerprint, rows)

    def delete(self, there: Mapping[str, Any]) -> None:
        """Remove items, given as records with their side."""
        self._note(there)
        with self._changing(arriving={}, leaving=self.sides(there)):
            self.shard.delete(list(there))

    @contextmanager
    def _changing(
        self, *, arriving: Mapping[ModelId, int], leaving: Mapping[str, ModelId]
    ) -> Iterator[None]:
        """Keep the counts during a write: up before it, down after it, unknown if it fails."""
        self._torn = True
        self._add(arriving, 1)
        self._note_gone(Counter(space.fingerprint for space in leaving.values()))
        try:
            yield
        except BaseException:
            self._finished = {}
            raise
        self._add(Counter(leaving.values()), -1)
        self._finished, self._torn = self.counts, False

    def overwrite_payload(self, item_id: str, content: dict[str, Any]) -> None:
        """Replace everything that is stored with the vector of one existing item."""
        self._note([item_id])
        self.shard.overwrite_payload(item_id, content)

    def sides(self, records: Mapping[str, Any]) -> dict[str, ModelId]:
        """Tell where items, given as records with their side, are searched."""
        spaces = {space.fingerprint: space for space in self.spaces}
        return {item_id: spaces[record.payload[SIDE]] for item_id, record in records.items()}

    def _add(self, changes: Mapping[ModelId, int], sign: int) -> None:
        self.counts = {
            space: count + sign * changes.get(space, 0) for space, count in self.counts.items()
        }

    def _note_gone(self, leaving: Counter[str]) -> None:
        """Count what leaves graphs; write it down now and then, for who opens the shard next."""
        self._gone += leaving
        self._gone_since_copied += leaving
        indexed, noted = self._stamp.indexed, self._stamp.gone
        for side in leaving:
            step = _GAPS_NOTED * indexed.get(side, 0)
            if noted.get(side, 0) + step < self._gone[side] and noted.get(side, 0) < 10 * step:
                self._restamp(replace(self._stamp, gone=dict(self._gone)))
                return

    def _note(self, item_ids: Iterable[str]) -> None:
        """Remember what a shard that is being rebuilt does not have yet."""
        if self._written is not None:
            self._written.update(item_ids)

    # Reading

    def read(self, reading: Callable[[Shard], T]) -> T:
        """Read from the shard in use, without the lock."""
        while True:
            shard = self.shard
            try:
                return reading(shard)
            except StoreError:
                if shard is self.shard:
                    raise  # otherwise a rebuilt shard took its place

    def count(self, space: ModelId) -> int:
        """Count the items of a side as of the last write that is finished."""
        known = self._finished.get(space)
        if known is None:
            with self._lock:
                self.settle()
                known = self.counts[space]
        return known

    def search(
        self, queries: Mapping[ModelId, Vectors], k: int, where: Where | None
    ) -> dict[ModelId, Hits]:
        """Search all sides at one moment; sides without items are left out."""
        while True:
            counts = self.counts
            filled = {space: rows for space, rows in queries.items() if counts.get(space)}
            gaps = self._with_gaps(filled)
            look = methodcaller(
                "search",
                filled,
                k,
                where,
                items=sum(counts.values()),
                gaps=gaps,
                indexed=where is not None and not gaps and self._are_indexed(filled),
            )
            found: dict[ModelId, Hits] = self.read(look) if filled else {}
            # A side that was empty may have taken items from one that was searched after that.
            counts = self.counts
            if all(space in filled or not counts.get(space) for space in queries):
                break
        n = max(map(len, queries.values()), default=0)
        nothing = Hits(item_ids=((),) * n, scores=(np.empty(0, dtype=np.float32),) * n)
        return {space: found.get(space, nothing) for space in queries}

    def _are_indexed(self, sides: Iterable[ModelId]) -> bool:
        """Tell whether graphs lead to nearly all items of sides."""
        return all((self.indexed(space) or 0.0) > _NEARLY_ALL for space in sides)

    def _with_gaps(self, sides: Iterable[ModelId]) -> set[ModelId]:
        """Pick the sides of whose graph much may have gone."""
        if self._exact:
            return set()
        gone, indexed = self._gone, self._stamp.indexed
        return {
            space
            for space in sides
            if gone[space.fingerprint] > _GAPS * indexed.get(space.fingerprint, 0) > 0
        }

    # Upkeep

    def optimise(self, *, moving: bool = False) -> None:
        """Rebuild a large shard in a copy, and change over; compact a small one in place.

        moving: as for `Gallery.optimise`.
        """
        with self._optimising, self._in_hand.taken() as given_up:
            with self._lock:
                self.settle()
                size = sum(4 * n * space.dimension for space, n in self.counts.items())
                if size < SMALL_BYTES:
                    self.shard.optimise()
                    return
                self.shard.flush()
                # Never a name that was there: a killed process may have left another at work in it.
                number = max(self._number, _number_of(self._stamp.data)) + 1
                fresh = self._folder / shard_name(number)
                # Where one side moves to another, all of it will.
                leaving = sum(items > 0 for items in self.counts.values()) > 1
                gaps = None if not moving else _GAPS_LEFT if leaving else _GAPS_IN_USE
                built = self._stamp_of(fresh.name, gaps)
                try:
                    copy_shard(self._folder / self._stamp.data, fresh, given_up)
                except BaseException:
                    shutil.rmtree(fresh, ignore_errors=True)
                    raise
                self._written, self._gone_since_copied = set(), Counter()
            try:
                build_indexes(fresh, gaps, given_up)
                self._change_over(built, given_up)
            finally:
                self._written = None
                if read_stamp(self._folder).data != fresh.name:
                    shutil.rmtree(fresh, ignore_errors=True)

    def _stamp_of(self, data: str, gaps: float | None) -> FolderStamp:
        """Tell what the stamp of a shard is whose graphs are built now.

        gaps: as for `set_thoroughness`; what has gone from graphs that stay is still in them.
        """
        indexed, gone = {}, {}
        for space, items in self.counts.items():
            side = space.fingerprint
            built, left = self._stamp.indexed.get(side, 0), self._gone[side]
            stays = left if gaps is not None and left < gaps * built else 0
            indexed[side], gone[side] = items + stays, stays
        return FolderStamp(self.spaces, data, indexed, gone)

    def abandon(self) -> None:
        """Give up a rebuild that is under way; the shard in use stays."""
        self._in_hand.give_up()

    def _change_over(self, built: FolderStamp, given_up: Event) -> None:
        """Bring a rebuilt shard up to date, part by part, and put it in the place of the other."""
        successor = Shard.load(self._folder / built.data, exact=self._exact, ef=self._ef)
        while True:
            if given_up.is_set():
                successor.close()
                check_wanted(given_up)
            with self._lock:
                self.settle()
                written = self._written or set()
                part = [written.pop() for _ in range(min(_CARRIED_AT_ONCE, len(written)))]
                for model in self.spaces:
                    successor.add_space(model)
                successor.copy_items(part, self.shard)
                if written:
                    continue  # and let others have a turn
                for model in built.spaces:
                    if model not in self.spaces:
                        successor.drop_space(model)
                successor.flush()
                before, left = self.shard, self._folder / self._stamp.data
                gone = Counter(dict(built.gone)) + self._gone_since_copied
                self._restamp(replace(built, spaces=self.spaces, gone=dict(gone)))
                self.shard, self._written, self._gone = successor, None, gone
            before.close()
            shutil.rmtree(left, ignore_errors=True)
            return

    def close(self) -> None:
        """Flush and close the shard."""
        self.shard.flush()
        self.shard.close()

    def indexed(self, space: ModelId) -> float | None:
        """Tell how much of a side the engine has indexed; None for a small side.

        The engine counts what is in an index, gone or not; so the side's items are counted when it
        builds. Those that came since, or were written anew, are outside.
        """
        items = self.count(space)
        if self._exact or 4 * items * space.dimension < _INDEXED_FROM_BYTES:
            return None
        side = space.fingerprint
        built = self._stamp.indexed.get(side, 0) - self._gone[side]
        return min(max(built, 0), items) / items

    def _restamp(self, stamp: FolderStamp) -> None:
        write_stamp(self._folder, stamp)
        self._stamp = stamp


def shard_name(number: int) -> str:
    """Name the subfolder of a shard."""
    return f"shard-{number}"


def _number_of(name: str) -> int:
    return int(name.rpartition("-")[2])


def shard_folder(folder: Path, stamp: FolderStamp) -> Path:
    """Return the subfolder that a stamp names. Raises StoreError unless it is a shard in there."""
    if not isinstance(stamp.data, str) or not _SHARD_NAME.fullmatch(stamp.data):
        raise StoreError(
            f"the stamp of {folder} names {stamp.data!r} as its shard, and a shard is called "
            "shard-0, shard-1, ...: restore spaces.json and the shard from the same backup"
        )
    path = folder / stamp.data
    if not path.is_dir():
        there = ", ".join(shard.name for shard in _shards(folder)) or "none"
        raise StoreError(
            f"the stamp of {folder} names {stamp.data}, which is not there (there: {there}): "
            "restore spaces.json and the shard from the same backup; nothing was changed"
        )
    return path


def _shards(folder: Path) -> list[Path]:
    """List the shards in a folder; links lead elsewhere and are left alone."""
    return sorted(
        path
        for path in folder.iterdir()
        if _SHARD_NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    )


# The engine in a process of its own --------------------------------------------------------------
# Indexes: that work is done on a copy, and the gallery then carries over what was written in
# between and changes over. Of what the engine wrote once and never changes, the two shards share
# the files. A full disk: the engine writes through mapped files, and opening a shard
# plays back its log. Where the disk has no room for that the system ends the process (SIGBUS). So
# another process tries first.

_ROOM = 2.5  # times the shard's size: the copy, and what the engine writes next to it
_WRITTEN_ONCE = frozenset({"matrix.dat", "links.bin", "links_compressed.bin"})
# of a segment with a graph: its vectors and the graph's links, most of a shard


def copy_shard(shard: Path, copy: Path, given_up: Event) -> None:
    """Copy the files of a flushed shard to which nothing is written at the same time.

    Those that are never written again are linked, where the file system can.
    Raises StoreFullError, AbandonedError.
    """
    size = sum(file.stat().st_size for file in shard.rglob("*") if file.is_file())
    free = shutil.disk_usage(shard).free
    if free < _ROOM * size:
        raise StoreFullError(
            f"optimising needs about {_ROOM * size / 1e6:,.0f} MB next to {shard}, "
            f"and {free / 1e6:,.0f} MB are free"
        )

    def copied(source: str, target: str) -> str:
        check_wanted(given_up)
        if os.path.basename(source) in _WRITTEN_ONCE:
            with suppress(OSError):
                os.link(source, target)
                return target
        return str(shutil.copy2(source, target))

    shutil.copytree(shard, copy, copy_function=copied)


def build_indexes(shard: Path, gaps: float | None, given_up: Event) -> None:
    """Optimise a shard in another process. Raises StoreError when that fails, AbandonedError.

    gaps: as for `set_thoroughness`.
    """
    how = "" if gaps is None else str(gaps)
    code, last = run_apart(f"{__name__}:optimise_there", str(shard), how, given_up=given_up)
    if code != 0:
        raise StoreError(
            f"the process that optimised {shard} ended with {code}: {last}; "
            "the gallery is as it was",
            retryable=True,
        )


def check_opens(shard: Path) -> None:
    """Open a shard on a full disk in another process. Raises StoreFullError when that fails."""
    code, last = run_apart(f"{__name__}:open_there", str(shard))
    if code != 0:
        raise StoreFullError(
            f"{shard} cannot be opened while the disk is this full: the engine needs some room "
            f"for it (a process that tried ended with {code}: {last}); nothing is lost: "
            "make room and open it again",
            retryable=True,
        )


def optimise_there(folder: str, gaps: str) -> None:
    """Optimise a shard in this process. gaps: as for `set_thoroughness`; empty for None."""
    path = Path(folder)
    set_thoroughness(path, float(gaps) if gaps else None)
    shard = Shard.load(path, exact=False, ef=None)
    shard.optimise()
    shard.flush()
    shard.close()
    set_thoroughness(path, None)


def open_there(folder: str) -> None:
    """Open a shard in this process, and close it."""
    shard = Shard.load(Path(folder), exact=False, ef=None)
    shard.flush()
    shard.close()
