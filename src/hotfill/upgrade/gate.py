"""Asked before every batch: may the work go on? It waits while there are holds."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hotfill.upgrade.holds import throttles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hotfill.upgrade.backfill import Progress
    from hotfill.upgrade.journal import Journal
    from hotfill.upgrade.phases import Phase

_POLL_SECONDS = 0.2  # how soon a resume or a lower measurement is noticed


@dataclass(slots=True)
class Gate:
    """Lets batches through, at a pace.

    probes: measurements by name, units in the names; limits: the highest value allowed for each.
    duty_cycle: share of the time spent working, in (0, 1]; the rest is slept away.
    phase: the work ends when the upgrade leaves it (another process may abort it).
    stop: set it to make the work end after the batches in hand.

    A postponed cutover does not hold the work: that is the point of postponing it.
    """

    journal: Journal
    probes: Mapping[str, Callable[[], float]]
    limits: Mapping[str, float]
    duty_cycle: float
    phase: Phase
    progress: Progress
    stop: threading.Event = field(default_factory=threading.Event)
    _opened: float | None = None

    def __call__(self) -> bool:
        """Wait until nothing holds the work; False when it shall stop."""
        self._rest()
        while not self.stop.is_set() and self.journal.phase is self.phase:
            self._measure()
            if all(hold.kind == "postponed" for hold in self.journal.holds()):
                self._opened = time.monotonic()
                return True
            self.stop.wait(_POLL_SECONDS)
        return False

    def _rest(self) -> None:
        """Account for the time since the last batch was let through, and sleep the other share."""
        if self._opened is None:
            return
        worked = time.monotonic() - self._opened
        self.progress.working_seconds += worked
        self._opened = None
        if self.duty_cycle < 1:
            self.stop.wait(worked * (1 / self.duty_cycle - 1))

    def _measure(self) -> None:
        measured = {name: probe() for name, probe in self.probes.items()}
        now = {hold.about: hold for hold in throttles(measured, self.limits, time.time())}
        for hold in now.values():
            self.journal.hold(hold)
        for hold in self.journal.holds():
            if hold.kind == "throttled" and hold.about not in now:
                self.journal.release("throttled", hold.about)
