"""The guard: measures the canaries while the upgrade runs, and holds it when a gate is not met.

It measures before the first batch, then whenever another two hundredths of the items are done, and
after a while without that: at most some fifty times an upgrade by progress, and never more than a
tenth of the time by the clock. Between two batches, in the process that leads; a hold is written
to the journal, so that all workers obey it. It never ends a hold: people do (`control.accept_gate`,
or another gate in the plan).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hotfill.upgrade.guard.gate import accepted_metrics
from hotfill.upgrade.guard.quality import measure
from hotfill.upgrade.requirements import violations

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.stores.base import Gallery
    from hotfill.upgrade.fitting.base import Fit
    from hotfill.upgrade.guard.canaries import Canaries
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.plan import Plan

EVERY_SHARE = 0.02
"""Measured again when so much more is done."""

_LEAST_REST = 9  # times as long as measuring took: then at most a tenth of the time goes into it


@dataclass(slots=True)
class Guard:
    """Measures one upgrade. load_fit: reads the fit in force, which may change (`Plan.refit`)."""

    gallery: Gallery
    journal: Journal
    plan: Plan
    canaries: Canaries
    load_fit: Callable[[], Fit]
    _done: int = 0
    _step: int = 0
    _measured_at: float = 0.0
    _took: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Measure before anything moves in this run, unless the gate holds the upgrade already."""
        self._step = max(int(len(self.gallery) * EVERY_SHARE), 1)
        if not any(hold.kind == "gate" for hold in self.journal.holds()):
            self._measure()

    def after_batch(self, items: int) -> None:
        """Measure when it is time again; costs nothing otherwise."""
        with self._lock:
            self._done += items
            if self._done < self._step and not self._is_late():
                return
            self._measure()

    def _is_late(self) -> bool:
        rest = max(self.plan.guard_seconds, _LEAST_REST * self._took)
        return time.monotonic() - self._measured_at > rest

    def _measure(self) -> None:
        began = time.monotonic()
        plan = self.plan
        found = measure(self.gallery, self.load_fit(), self.canaries, plan)
        self._done, self._measured_at = 0, time.monotonic()
        self._took = self._measured_at - began
        measured = replace(found, seconds=self._took).to_dict()
        self.journal.record("quality", **measured)
        now = time.time()
        for hold in violations(measured, plan.gate, accepted_metrics(self.journal), now):
            self.journal.hold(hold)
