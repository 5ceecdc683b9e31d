"""Let the store tidy up now and then while a long backfill runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hotfill.errors import HotfillError

if TYPE_CHECKING:
    from hotfill.stores.base import Gallery
    from hotfill.upgrade.journal.base import Journal

EVERY_SHARE = 0.1
"""Tidied up when so much more of the gallery has moved: nine times an upgrade at most."""

LEAST_ITEMS = 50_000
"""Fewer moves leave nothing worth tidying up."""


@dataclass(slots=True)
class Tidying:
    """Calls `Gallery.optimise` in a thread of its own, one at a time; no batch waits for it.

    A store whose moves would suffer from it is tidied up at the end only.
    """

    gallery: Gallery
    journal: Journal
    _moved: int = 0
    _moved_in_all: int = 0
    _step: int = 0
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def after_batch(self, items: int) -> None:
        """Begin when enough has moved since the last time; costs nothing otherwise."""
        with self._lock:
            self._moved += items
            self._moved_in_all += items
            if not self.gallery.capabilities.optimise_while_moving:
                return
            if not self._step:
                self._step = max(int(len(self.gallery) * EVERY_SHARE), LEAST_ITEMS)
            if self._moved < self._step:
                return
            if self._thread is not None and self._thread.is_alive():
                return
            self._moved = 0
            self._thread = threading.Thread(target=self._run, name="hotfill-tidying", daemon=True)
            self._thread.start()

    def at_end(self) -> None:
        """Tidy up what a long backfill has left, before its end is told."""
        if self._moved_in_all >= LEAST_ITEMS:
            self._run()

    def finish(self) -> None:
        """Wait for a call that is under way: the store must not be closed meanwhile."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self.gallery.optimise()
        except HotfillError as error:  # it is only slower without; what is really wrong, moves meet
            self.journal.record("optimise", error=str(error))
        else:
            self.journal.record("optimise")
