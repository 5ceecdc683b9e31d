"""Searches on their way: an item leaves a side only when those that began before have ended.

For stores in which an item that changes sides is written to one and removed from the other.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Searches:
    """Counts searches on their way, so that a removal can let those end that began before."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._next = 0
        self._running: set[int] = set()
        self._stopped = False

    @contextmanager
    def one(self) -> Iterator[None]:
        """Be a search. Waits while there are to be none."""
        with self._changed:
            self._changed.wait_for(lambda: not self._stopped)
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

    @contextmanager
    def none(self) -> Iterator[None]:
        """Let searches end, and later ones wait for the end of the block. One thread at a time."""
        with self._changed:
            self._stopped = True
            self._changed.wait_for(lambda: not self._running)
        try:
            yield
        finally:
            with self._changed:
                self._stopped = False
                self._changed.notify_all()
