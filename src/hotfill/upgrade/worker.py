"""One more process that embeds, on this machine or another, while one process leads the upgrade.

The leading process (`Upgrade.start`) takes the upgrade through its phases; workers only take
batches to embed, from the same journal, and write to the same store. They may come and go, be
killed, or hang: a batch that a worker no longer answers for, or that does not go through within
`Plan.embed_timeout_seconds`, is given to the next who asks.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hotfill.errors import ModelMismatchError, StoreError, StoreFullError
from hotfill.upgrade.backfill import LEASE_SECONDS, Backfill, embed_work
from hotfill.upgrade.leftover import budget_of
from hotfill.upgrade.pace import BatchSize, Pace, Progress
from hotfill.upgrade.phases import Phase, hold_of_error

if TYPE_CHECKING:
    from hotfill.stores.base import Gallery
    from hotfill.types import Embedder, Source
    from hotfill.upgrade.backfill import Work
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.plan import Plan

_POLL_SECONDS = 0.5
_BEFORE = frozenset({Phase.PLANNED, Phase.PREPARED})  # nothing to embed yet


def worker_name() -> str:
    """Make a name that no other worker has or had."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


@dataclass(slots=True)
class Worker:
    """Embeds and moves batches until none is left.

    gallery, journal: the same as those of the leading process. plan: the one in force.
    lease_seconds: after so long without a sign of life others may take this worker's batches.
    stop: set it to end after the batches in hand. progress: of this worker.
    """

    gallery: Gallery
    journal: Journal
    plan: Plan
    source: Source
    new_embedder: Embedder
    owner: str = field(default_factory=worker_name)
    lease_seconds: float = LEASE_SECONDS
    stop: threading.Event = field(default_factory=threading.Event)
    progress: Progress = field(default_factory=Progress)
    _batch_size: BatchSize | None = None

    def run(self) -> Phase:
        """Wait for the backfill, help with it, and return the phase that the upgrade has then.

        Raises StoreError when the store takes one process only, ModelMismatchError when the
        embedder is not of the new model, CallTimeoutError when source or embedder hang, and other
        non-retryable errors. Then this worker's batches are free at once, and the others go on. A
        store without room is no error but a hold: when there is room, `resume` ends it.
        """
        if not self.gallery.capabilities.many_processes:
            raise StoreError(
                "this store takes one process at a time, so that workers cannot help; PostgreSQL "
                "takes many, and so do Redis and a Qdrant server"
            )
        if self.new_embedder.model_id != self.plan.new_model:
            raise ModelMismatchError(
                "the embedder", self.plan.new_model, self.new_embedder.model_id
            )
        work = embed_work(
            self.plan.new_model,
            self.source,
            self.new_embedder,
            may_stay=self.plan.backfill != "all",
        )
        try:
            if self.plan.batch_size == "auto":
                self._batch_size = BatchSize(
                    self.journal,
                    "embed",
                    self.plan.new_model.dimension,
                    self.plan.embed_timeout_seconds,
                )
            while not self.stop.is_set():
                phase = self.journal.phase
                if phase is Phase.BACKFILLING:
                    self._help(replace(work, most=budget_of(self.journal, self.plan)))
                elif phase not in _BEFORE:
                    break
                self.stop.wait(_POLL_SECONDS)
        finally:
            self.journal.release_leases(self.owner)
        return self.journal.phase

    def _help(self, work: Work) -> None:
        """Do batches. A full store holds everybody, this worker too, until there is room."""
        try:
            self._backfill().run(work)
        except StoreFullError as error:
            self.journal.release_leases(self.owner)
            self.journal.hold(hold_of_error(error, time.time()))

    def _backfill(self) -> Backfill:
        pace = Pace(
            journal=self.journal,
            probes={},
            limits={},
            duty_cycle=self.plan.duty_cycle,
            phase=Phase.BACKFILLING,
            progress=self.progress,
            measures=False,  # the leading process does, and all obey its holds
            stop=self.stop,
            batch_size=self._batch_size,
        )
        return Backfill(
            self.gallery,
            self.journal,
            owner=self.owner,
            pace=pace,
            is_over=pace.is_over,
            max_attempts=self.plan.max_attempts,
            max_dead_letters=self.plan.max_dead_letters,
            lease_seconds=self.lease_seconds,
            call_seconds=self.plan.embed_timeout_seconds,
            stop=self.stop,
            progress=self.progress,
            batch_size=self._batch_size,
        )
