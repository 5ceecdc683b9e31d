"""A worker that lives keeps its batches, however long they take."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotfill.errors import HotfillError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotfill.upgrade.journal.base import Journal

_BEATS = 4  # in the time of a lease: some may be missed


@contextmanager
def kept(journal: Journal, owner: str, seconds: float) -> Iterator[None]:
    """Prolong an owner's leases again and again while the block runs.

    The thread that does it dies with the process and stands still with it. Then the leases run
    out, and others take the batches.
    """
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(seconds / _BEATS):
            try:
                journal.prolong(owner, seconds)
            except HotfillError:
                continue  # the journal is away; the work itself will meet that too, and say so

    thread = threading.Thread(target=beat, name="hotfill-leases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
