"""One value that many threads use, and that is replaced as a whole."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from hotfill.errors import HotfillError

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class Switch(Generic[T]):
    """Holds the current value; `swap` returns when nobody uses the one before.

    So whoever swaps knows that from then on everybody sees the new value, and nobody ever sees
    half of each.
    """

    def __init__(self, value: T) -> None:
        self._value = value
        self._users = 0
        self._generation = 0
        self._changed = threading.Condition()
        self._waiting_for: dict[int, int] = {}  # generation -> its users, while someone waits

    @property
    def value(self) -> T:
        """The current value, for looking at; use `use` to work with it."""
        return self._value

    @contextmanager
    def use(self) -> Iterator[T]:
        """Work with the current value; it stays whole for the block."""
        with self._changed:
            value, generation = self._value, self._generation
            self._users += 1
        try:
            yield value
        finally:
            with self._changed:
                if generation == self._generation:
                    self._users -= 1
                else:
                    self._waiting_for[generation] -= 1
                    self._changed.notify_all()

    def swap(self, value: T, timeout_seconds: float = 60.0) -> None:
        """Replace the value and wait until the former is out of use.

        Raises HotfillError when it is still in use after the time; the value is replaced anyway.
        """
        with self._changed:
            former = self._generation
            self._waiting_for[former] = self._users
            self._value = value
            self._users = 0
            self._generation += 1
            free = self._changed.wait_for(
                lambda: self._waiting_for[former] == 0, timeout=timeout_seconds
            )
            if not free:
                raise HotfillError(
                    f"{self._waiting_for[former]} searches or writes that began before the switch "
                    f"are still running after {timeout_seconds:g} s"
                )
            del self._waiting_for[former]
