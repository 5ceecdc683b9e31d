"""A running upgrade says every second how far it is, for whoever watches."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from hotfill.errors import HotfillError, ModelMismatchError
from hotfill.upgrade.status import take_status

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from hotfill.stores.base import Gallery
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.plan import Plan
    from hotfill.upgrade.status import Status
    from hotfill.upgrade.work.backfill import Progress

_BEAT_SECONDS = 1.0
_RATE_SECONDS = 30.0  # the rate is an average over this long


class Heartbeat:
    """Beats in a thread of its own while the block runs, and once at its end."""

    def __init__(
        self,
        journal: Journal,
        plan: Plan,
        gallery: Gallery,
        progress: Progress,
        on_status: Callable[[Status], None],
    ) -> None:
        self._journal = journal
        self._plan = plan
        self._gallery = gallery
        self._progress = progress
        self._on_status = on_status
        self._written: deque[tuple[float, int]] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hotfill-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._beat()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        # Also after an error: nobody is at work then. That error counts, not one of this beat.
        with nullcontext() if kind is None else suppress(HotfillError):
            self._beat(last=True)

    def _run(self) -> None:
        while not self._stop.wait(_BEAT_SECONDS):
            with suppress(HotfillError):  # a full disk, say: the work itself meets it, and tells
                self._beat()

    def _beat(self, last: bool = False) -> None:
        now = time.monotonic()
        self._written.append((now, self._progress.written))
        while now - self._written[0][0] > _RATE_SECONDS:
            self._written.popleft()
        then, before = self._written[0]
        rate = (self._progress.written - before) / (now - then) if now > then else 0.0
        self._journal.beat(
            pid=None if last else os.getpid(),  # from now on nobody is at work
            host=socket.gethostname(),
            embedded=self._progress.embedded,
            written=self._progress.written,
            visible=self._visible(),
            rate_per_second=rate,
            working_seconds=self._progress.working_seconds,
        )
        self._on_status(take_status(self._journal, self._plan))

    def _visible(self) -> int:
        try:
            return self._gallery.count(self._plan.new_model)
        except ModelMismatchError:  # not prepared yet, or gone on the way back
            return 0
