"""Work ahead, a little: the next batch is read while this one is embedded."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

T = TypeVar("T")

_POLL_SECONDS = 0.05  # how soon a stopped consumer is noticed by a full queue


def prefetched(items: Iterable[T], depth: int = 2) -> Generator[T]:
    """Yield what an iterable yields, but run it in a thread of its own.

    depth: how many items may wait; with the one in each hand this bounds the memory.
    An error in the iterable is raised here, after the items before it. When the consumer stops
    early, the iterable is closed.
    """
    waiting: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(last: bool, value: T | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                waiting.put((last, value), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put(False, item):
                    break
            put(True, None)
        except BaseException as error:  # handed over, and raised where the items are used
            put(True, error)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=produce, name="hotfill-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            last, value = waiting.get()
            if last:
                if isinstance(value, BaseException):
                    raise value
                return
            yield value  # type: ignore[misc]  # only the last entry is not a T
    finally:
        stopped.set()
        thread.join()
