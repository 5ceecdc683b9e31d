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
