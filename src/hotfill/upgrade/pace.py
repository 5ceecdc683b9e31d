"""Asked before every batch: may the work go on, or must it wait?"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hotfill.upgrade.phases import throttles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hotfill.stores.base import Gallery
    from hotfill.upgrade.backfill import Progress
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.phases import Phase


_POLL_SECONDS = 0.2  # how soon a resume or a lower measurement is noticed


@dataclass(slots=True)
class Pace:
    """Lets batches through, at a pace. It never waits itself: whoever asks does.

    probes: measurements by name, units in the names; limits: the highest value allowed for each.
    duty_cycle: share of the time spent working, in (0, 1]; the rest is waited.
    phase: the work ends when the upgrade leaves it (another process may abort it).
    measures: whether this process measures and throttles; others obey the holds they read.
    stop: set it to make the work end after the batches in hand.

    A postponed cutover does not hold the work: that is the point of postponing it.
    """

    journal: Journal
    probes: Mapping[str, Callable[[], float]]
    limits: Mapping[str, float]
    duty_cycle: float
    phase: Phase
    progress: Progress
    measures: bool = True
    stop: threading.Event = field(default_factory=threading.Event)
    _opened: float | None = None

    def __call__(self) -> float | None:
        """Return 0 to go on, seconds to wait before asking again, or None to stop."""
        if self.stop.is_set() or self.is_over():
            return None
        if rest := self._rest():
            return rest
        if self.measures:
            self._measure()
        if any(hold.kind != "postponed" for hold in self.journal.holds()):
            return _POLL_SECONDS
        self._opened = time.monotonic()
        return 0.0

    def is_over(self) -> bool:
        """Tell whether the upgrade has left the phase of the work, so that nothing may be moved.

        Raises UpgradeBusyError when another process leads instead of this one.
        """
        self.journal.check_leading()
        return self.journal.phase is not self.phase

    def _rest(self) -> float:
        """Account for the time since the last batch was let through; the other share is rest."""
        if self._opened is None:
            return 0.0
        worked = time.monotonic() - self._opened
        self.progress.working_seconds += worked
        self._opened = None
        return worked * (1 / self.duty_cycle - 1)

    def _measure(self) -> None:
        measured = {name: probe() for name, probe in self.probes.items()}
        now = {hold.about: hold for hold in throttles(measured, self.limits, time.time())}
        for hold in now.values():
            self.journal.hold(hold)
        for hold in self.journal.holds():
            if hold.kind == "throttled" and hold.about not in now:
                self.journal.release("throttled", hold.about)


# Whoever searches in another process hears of a phase before anything moves in it ----------------
# Such a process asks the journal for the phase every little while (`hotfill.serving`). Until it has
# heard that there are two sides it searches one, and would miss what has moved to the other.

NOTICE_SECONDS = 1.0
"""From the entering of a phase to the first move in it. A search whose knowledge of the phase is
older than this when it ends has to ask again."""


def give_notice(gallery: Gallery, stop: threading.Event) -> None:
    """Wait so long, where other processes may have the gallery open."""
    if gallery.capabilities.many_processes:
        stop.wait(NOTICE_SECONDS)
