"""The items of a gallery: found, written, removed, each on one side in the end.

A server shows a write a moment later, and a process may die between two writes. `Pending` waits for
the first, `one_side_each` repairs the second.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np

from hotfill.errors import InputError
from hotfill.stores.base import Found, ItemState, Page
from hotfill.stores.milvus.rows import (
    MilvusRow,
    is_noted,
    metadata_of,
    quoted,
    with_metadata,
)
from hotfill.stores.milvus.server import ID_BYTES, MOST_HITS
from hotfill.stores.searches import Searches
from hotfill.vectors import as_stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata
    from hotfill.stores.milvus.claim import Claim
    from hotfill.stores.milvus.server import Server
    from hotfill.stores.milvus.stamp import MilvusStamp, SpaceFields
    from hotfill.types import ModelId, Vectors

_NUMBER = re.compile(r"0|-?[1-9][0-9]*")
_MOST_PENDING = 8_000  # items; then they are settled
_LONGEST_PENDING = 1.0  # seconds; then the next write settles
PAGE = 1000
_MARGIN_NS = 120 * 10**9  # before the last sign of life: much longer than anything stays pending


class Items:
    """Rows in the collections of the stamp.

    lock: held by everything but searches; so reads and writes of threads take turns.
    searches: those on their way. torn: whether a write failed, and may have been done in part.
    """

    def __init__(self, server: Server, claim: Claim, stamp: MilvusStamp) -> None:
        self.stamp = stamp
        self.lock = RLock()
        self.searches = Searches()
        self.torn = False
        self._server, self._claim = server, claim
        self._pending = Pending(server, self.searches)
        self._pending_since = 0.0

    @contextmanager
    def reading(self, item_ids: Sequence[str] | None) -> Iterator[None]:
        """See what was written to these items, to all when None."""
        with self.lock:
            self._mend()
            if item_ids is None or self._pending.touches(item_ids):
                self.settle()
            yield

    @contextmanager
    def writing(self, item_ids: Sequence[str]) -> Iterator[None]:
        """Be the only one that writes, and see what was written to these items."""
        with self.lock:
            self._claim.check()
            self._mend()
            waited = time.monotonic() - self._pending_since
            if waited > _LONGEST_PENDING or self._pending.touches(item_ids):
                self.settle()
            yield
            if len(self._pending) > _MOST_PENDING or self._server.lite:
                self.settle()

    # All that follows needs the lock.

    def find(
        self, item_ids: Sequence[str], *, vectors: bool = False
    ) -> dict[str, tuple[SpaceFields, MilvusRow]]:
        """Find items: the side each is on, and its row."""
        found: dict[str, tuple[SpaceFields, MilvusRow]] = {}
        missing = [item_id for item_id in item_ids if len(item_id.encode()) <= ID_BYTES]
        for space in reversed(self.stamp.spaces):
            possible = [i for i in missing if not space.number_ids or is_number(i)]
            if possible:
                rows = self._server.read(space, possible, vectors=vectors)
                found.update((item_id, (space, row)) for item_id, row in rows.items())
                missing = [item_id for item_id in missing if item_id not in found]
        return found

    def put(
        self,
        target: SpaceFields,
        rows: Sequence[MilvusRow],
        before: Mapping[str, tuple[SpaceFields, MilvusRow]],
    ) -> None:
        """Write rows to a side; those on other sides, as `find` gave them, are to be removed."""
        if not rows:
            return
        self._note(target, [row.item_id for row in rows])
        self.torn = True
        self._server.write(target, rows)
        self.torn = False  # only now may earlier rows go
        for row in rows:
            side = before[row.item_id][0] if row.item_id in before else target
            if side != target:
                self._pending.leaves(side, [row.item_id])
        if target.bare:
            # Its rows cannot say since when they count: no crash may leave an acknowledged one
            # next to an earlier one.
            self.settle()

    def remove(self, space: SpaceFields, item_ids: Sequence[str]) -> None:
        """Remove rows from a side."""
        self._note(space, item_ids)
        self._server.remove(space, item_ids)

    def settle(self) -> None:
        """Let every later read see all that was written, each item on one side."""
        if len(self._pending):
            self._pending.settle()

    def _note(self, space: SpaceFields, item_ids: Iterable[str]) -> None:
        if not len(self._pending):
            self._pending_since = time.monotonic()
        self._pending.wrote(space, item_ids)

    def _mend(self) -> None:
        """Bring items to one side each after a write that failed, perhaps half-way."""
        if self.torn:
            self.settle()
            one_side_each(self._server, self.stamp, time.time())
            self.torn = False


def is_number(item_id: str) -> bool:
    """Tell whether an item can have its id as a whole number."""
    return _NUMBER.fullmatch(item_id) is not None and abs(int(item_id)) < 2**63


class Pending:
    """What was written and is not settled.

    A server shows a write to reads a moment later (its time tick, 200 ms by default). An item that
    goes from one side to another must be seen on the new one before it leaves the old one. So the
    row on the old side is removed later, by `settle`, for many batches at once. All methods need
    the gallery's lock.
    """

    def __init__(self, server: Server, searches: Searches) -> None:
        self._server, self._searches = server, searches
        self._written: set[SpaceFields] = set()
        self._leaving: dict[SpaceFields, dict[str, None]] = {}
        self._items: set[str] = set()

    def __len__(self) -> int:
        return len(self._items)

    def touches(self, item_ids: Iterable[str]) -> bool:
        """Tell whether any of these items is not settled."""
        return bool(self._items) and not self._items.isdisjoint(item_ids)

    def wrote(self, space: SpaceFields, item_ids: Iterable[str]) -> None:
        """Note rows that were written or removed."""
        self._written.add(space)
        self._items.update(item_ids)

    def leaves(self, space: SpaceFields, item_ids: Iterable[str]) -> None:
        """Note rows that are to be removed, because their items are on another side now."""
        self._leaving.setdefault(space, {}).update(dict.fromkeys(item_ids))

    def settle(self) -> None:
        """Wait until reads see every write, remove what waits for that, wait for the removals.

        Idempotent, after a failure too.
        """
        for space in self._written:
            self._server.wait(space)
        if self._leaving:
            self._searches.let_end()  # those that may have looked at the new side too early
            for space, item_ids in self._leaving.items():
                self._server.remove(space, list(item_ids))
            for space in self._leaving:
                self._server.wait(space)
        self._written, self._leaving, self._items = set(), {}, set()


def one_side_each(server: Server, stamp: MilvusStamp, last_beat: float) -> int:
    """Remove the earlier row of items that have two. Returns how many had.

    An acknowledged move wrote the row on the new side, so that it is the later one; nothing that
    was acknowledged is undone. Only rows from shortly before the last holder's last sign of life on
    are looked at: older ones were settled long before.
    """
    for space in stamp.spaces:
        server.wait(space)
    since = max(0, int(last_beat * 1e9) - _MARGIN_NS)
    fixed = 0
    for one, other in combinations(stamp.spaces, 2):
        # Of an item with two rows the later is in the newer space after a move forward, in the
        # older one after a move back. A row that can note nothing is the earlier one (`put`).
        for here, there in ((one, other), (other, one)):
            if here.bare:
                continue
            field = "hotfill_since" if here.adopted else "since"
            after: str | None = None
            while rows := server.page(here, after, PAGE, f"{field} >= {since}"):
                twins = server.read(there, [row.item_id for row in rows])
                gone = [
                    row.item_id
                    for row in rows
                    if row.item_id in twins and twins[row.item_id].since < row.since
                ]
                server.remove(there, gone)
                fixed += len(gone)
                after = rows[-1].item_id
            server.wait(there)
    return fixed


# What rows say of items ---------------------------------------------------------------------------


def states(
    item_ids: Sequence[str], there: Mapping[str, tuple[SpaceFields, MilvusRow]]
) -> list[ItemState | None]:
    """Tell the state of items, from their sides and rows."""
    return [
        ItemState(
            item_id=item_id,
            version=there[item_id][1].version,
            space=there[item_id][0].model,
            origin=there[item_id][1].origin,
            metadata=metadata_of(there[item_id][1].content),
        )
        if item_id in there
        else None
        for item_id in item_ids
    ]


def vectors(
    item_ids: Sequence[str], there: Mapping[str, tuple[SpaceFields, MilvusRow]], where: SpaceFields
) -> Found:
    """Read vectors of one space, searched or kept: both are in the item's row."""
    found = {}
    for item_id, (side, row) in there.items():
        kept = row.kept.get(str(where.number))
        if side == where:
            found[item_id] = row.vector
        elif kept is not None:
            found[item_id] = np.frombuffer(kept, dtype=np.float32)
        # An adopted collection may hold vectors of any length, and zeros, which have no direction.
        if where.adopted and item_id in found:
            (found[item_id],) = as_stored(found[item_id][None], where.model)
            if where.model.metric == "cosine" and not found[item_id].any():
                del found[item_id]
    return Found.of(
        [
            (item_id, there[item_id][1].version, found[item_id])
            for item_id in item_ids
            if item_id in found
        ],
        where.model.dimension,
    )


def page(server: Server, where: SpaceFields, after: str | None, limit: int) -> Page:
    """List the next items of a side, in the order of their keys."""
    rows = server.page(where, after, limit)
    full = len(rows) == min(limit, MOST_HITS)
    return Page(
        item_ids=tuple(row.item_id for row in rows),
        versions=np.array([row.version for row in rows], dtype=np.int64),
        origins=tuple(row.origin for row in rows),
        cursor=rows[-1].item_id if full else None,
    )


def count(server: Server, where: SpaceFields, origin: str | None) -> int:
    """Count the items of a side, or those whose vectors a model or a transform made."""
    if origin is None:
        return server.count(where, "")
    if where.bare:
        return server.count(where, "") if origin == where.model.fingerprint else 0
    field = '$meta["hotfill_origin"]' if where.adopted else "origin"
    if where.adopted and origin == where.model.fingerprint:  # rows that say nothing are its own
        others = f"(exists {field}) and ({field} != {quoted(origin)})"  # 2.3.5 wants the brackets
        return server.count(where, "") - server.count(where, others)
    return server.count(where, f"{field} == {quoted(origin)}")


def remarks(server: Server, stamp: MilvusStamp) -> list[str]:
    """Look at some vectors of an adopted collection: zeros, and lengths that nobody promised."""
    said = []
    for space in stamp.spaces[:1]:
        names = [row.item_id for row in server.page(space, None, PAGE)] if space.adopted else []
        rows = server.read(space, names, vectors=True).values() if names else ()
        norms = np.array([np.linalg.norm(row.vector) for row in rows])
        zeros, other = int((norms == 0).sum()), int((abs(norms[norms > 0] - 1) > 0.01).sum())
        if zeros and space.model.metric == "cosine":
            said.append(
                f"{zeros:,} of {len(norms):,} vectors looked at are all zero: they have no "
                "direction and are left out of fitting; the upgrade embeds them like others"
            )
        if other and space.model.normalised:
            said.append(
                f"{other:,} of {len(norms):,} vectors looked at are not of unit length, which "
                f"{space.model} promises: say normalised = false, or name the model that made them"
            )
    return said


# Rows to be written -------------------------------------------------------------------------------


def check_possible(item_ids: Sequence[str], stamp: MilvusStamp) -> None:
    """Raise InputError for ids that the gallery's collections cannot have as keys."""
    for item_id in item_ids:
        if len(item_id.encode()) > ID_BYTES:
            raise InputError(f"item id {item_id[:50]!r}...: Milvus takes {ID_BYTES} bytes")
        if stamp.spaces[0].number_ids and not is_number(item_id):
            raise InputError(
                f"item id {item_id!r}: the keys of the adopted collection are whole numbers"
            )


def check_cursor(after: str | None, stamp: MilvusStamp) -> None:
    """Raise InputError unless a page can begin after an id."""
    if after is not None and stamp.spaces[0].number_ids and not is_number(after):
        raise InputError(f"after: the cursor of an earlier page, a whole number; got {after!r}")


def written(
    item_ids: Sequence[str],
    rows: Vectors,
    metadata: Sequence[Metadata] | None,
    kept: Mapping[ModelId, Vectors],
    versions: NDArray[np.int64],
    *,
    space: ModelId,
    stamp: MilvusStamp,
    before: Mapping[str, tuple[SpaceFields, MilvusRow]],
) -> list[MilvusRow]:
    """Make the rows of items with new content. Without metadata that of the rows before stays."""
    numbered = {str(stamp.space(model).number): vectors for model, vectors in kept.items()}
    made = []
    for i, item_id in enumerate(item_ids):
        content = before[item_id][1].content if item_id in before else {}
        if metadata is not None:
            content = with_metadata(content, metadata[i])
        version = int(versions[i])
        others = {number: vectors[i].tobytes() for number, vectors in numbered.items()}
        made.append(
            MilvusRow(item_id, version, space.fingerprint, version, content, others, rows[i])
        )
    return made


def described(
    item_ids: Sequence[str],
    metadata: Sequence[Metadata],
    space: SpaceFields,
    there: Mapping[str, tuple[SpaceFields, MilvusRow]],
) -> list[MilvusRow]:
    """Make the rows of the items on one side with other metadata."""
    return [
        replace(there[item_id][1], content=with_metadata(there[item_id][1].content, given))
        for item_id, given in zip(item_ids, metadata, strict=True)
        if item_id in there and there[item_id][0] == space
    ]


def moved(
    item_ids: Sequence[str],
    rows: Vectors,
    versions: NDArray[np.int64],
    *,
    target: SpaceFields,
    origin: str,
    now: int,
    before: Mapping[str, tuple[SpaceFields, MilvusRow]],
) -> list[MilvusRow]:
    """Make the rows of those items that may move to a side; the vectors before are kept in them.

    now: nanoseconds; a row counts from then on, and in any case later than the one before it.
    """
    own = target.model.fingerprint
    made = []
    for i, item_id in enumerate(item_ids):
        side, row = before.get(item_id, (None, None))
        if side is None or row is None or row.version != versions[i]:
            continue
        if side == target and row.origin == own != origin:
            continue  # the model's own vector is better than any transform's
        others = dict(row.kept)
        earlier = others.pop(str(target.number), None)
        if side != target:
            others[str(side.number)] = row.vector.tobytes()
        vector = _as_it_was(rows[i], earlier, target) if side != target else rows[i]
        since = max(now, row.since + 1)
        made.append(replace(row, origin=origin, since=since, kept=others, vector=vector))
    return made


def _as_it_was(
    vector: NDArray[np.float32], earlier: bytes | None, target: SpaceFields
) -> NDArray[np.float32]:
    """Return the vector that an adopted collection had, of any length, where it is the same one."""
    if earlier is None or not target.adopted:
        return vector
    kept = np.frombuffer(earlier, dtype=np.float32)
    same = np.allclose(as_stored(kept[None], target.model)[0], vector, atol=1e-6)
    return kept if same else vector


def tidied(rows: Iterable[MilvusRow], space: SpaceFields) -> list[MilvusRow]:
    """Make the rows that say more than is needed where there is one space, without that.

    What a transform made, goes on to say so.
    """
    own = space.model.fingerprint
    return [
        replace(row, version=0, since=0, kept={}) if row.origin == own else replace(row, kept={})
        for row in rows
        if is_noted(row, space) and (row.kept or row.origin == own)
    ]
