"""Writes that not every read sees yet, and removals that wait for that."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hotfill.stores.milvus.server import Server
    from hotfill.stores.milvus.stamp import Space


class Pending:
    """What was written and is not settled.

    A server shows a write to reads a moment later (its time tick, 200 ms by default). An item that
    goes from one side to another must be seen on the new one before it leaves the old one. So the
    row on the old side is removed later, by `settle`, for many batches at once. All methods need
    the gallery's lock.
    """

    def __init__(self, server: Server, searches: Searches) -> None:
        self._server, self._searches = server, searches
        self._written: set[Space] = set()
        self._leaving: dict[Space, dict[str, None]] = {}
        self._items: set[str] = set()

    def __len__(self) -> int:
        return len(self._items)

    def touches(self, item_ids: Iterable[str]) -> bool:
        """Tell whether any of these items is not settled."""
        return bool(self._items) and not self._items.isdisjoint(item_ids)

    def wrote(self, space: Space, item_ids: Iterable[str]) -> None:
        """Note rows that were written or removed."""
        self._written.add(space)
        self._items.update(item_ids)

    def leaves(self, space: Space, item_ids: Iterable[str]) -> None:
        """Note rows that are to be removed, because their items are on another side now."""
        self._leaving.setdefault(space, {}).update(dict.fromkeys(item_ids))

    def settle(self) -> None:
        """Wait until reads see every write, remove what waits for that, wait for the removals.

        Again after a failure is harmless.
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


class Searches:
    """Counts searches on their way, so that a removal can let those end that began before."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._next = 0
        self._running: set[int] = set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Be a search."""
        with self._changed:
            number = self._next = self._next + 1
            self._running.add(number)
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(number)
                self._changed.notify_all()

    def let_end(self) -> None:
        """Wait until the searches that run now have ended; later ones may go on."""
        with self._changed:
            last = self._next
            self._changed.wait_for(lambda: all(number > last for number in self._running))
