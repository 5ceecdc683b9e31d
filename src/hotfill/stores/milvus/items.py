"""The items of a gallery: found, written, removed, each on one side in the end."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING

from hotfill.stores.milvus import repair
from hotfill.stores.milvus.pending import Pending, Searches
from hotfill.stores.milvus.server import ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hotfill.stores.milvus.claim import Claim
    from hotfill.stores.milvus.rows import Row
    from hotfill.stores.milvus.server import Server
    from hotfill.stores.milvus.stamp import Space, Stamp

_NUMBER = re.compile(r"0|-?[1-9][0-9]*")
_MOST_PENDING = 8_000  # items; then they are settled
_LONGEST_PENDING = 1.0  # seconds; then the next write settles


class Items:
    """Rows in the collections of the stamp.

    lock: held by everything but searches; so reads and writes of threads take turns.
    searches: those on their way. torn: whether a write failed, and may have been done in part.
    """

    def __init__(self, server: Server, claim: Claim, stamp: Stamp) -> None:
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
    ) -> dict[str, tuple[Space, Row]]:
        """Find items: the side each is on, and its row."""
        found: dict[str, tuple[Space, Row]] = {}
        missing = [item_id for item_id in item_ids if len(item_id.encode()) <= ID_BYTES]
        for space in reversed(self.stamp.spaces):
            possible = [i for i in missing if not space.number_ids or is_number(i)]
            if possible:
                rows = self._server.read(space, possible, vectors=vectors)
                found.update((item_id, (space, row)) for item_id, row in rows.items())
                missing = [item_id for item_id in missing if item_id not in found]
        return found

    def put(
        self, target: Space, rows: Sequence[Row], before: Mapping[str, tuple[Space, Row]]
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

    def remove(self, space: Space, item_ids: Sequence[str]) -> None:
        """Remove rows from a side."""
        self._note(space, item_ids)
        self._server.remove(space, item_ids)

    def settle(self) -> None:
        """Let every later read see all that was written, each item on one side."""
        if len(self._pending):
            self._pending.settle()

    def _note(self, space: Space, item_ids: Iterable[str]) -> None:
        if not len(self._pending):
            self._pending_since = time.monotonic()
        self._pending.wrote(space, item_ids)

    def _mend(self) -> None:
        """Bring items to one side each after a write that failed, perhaps half-way."""
        if self.torn:
            self.settle()
            repair.one_side_each(self._server, self.stamp, time.time())
            self.torn = False


def is_number(item_id: str) -> bool:
    """Tell whether an item can have its id as a whole number."""
    return _NUMBER.fullmatch(item_id) is not None and abs(int(item_id)) < 2**63
