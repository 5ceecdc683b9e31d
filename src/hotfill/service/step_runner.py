"""Runs an operator's steps in a thread, one at a time, and keeps how the last one went."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, computed_field

from hotfill.errors import HotfillError, UpgradeBusyError
from hotfill.service.problems import described, status_of
from hotfill.upgrade import control
from hotfill.upgrade.backfill import Progress
from hotfill.upgrade.phases import Step, advance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hotfill.config import Project
    from hotfill.stores.base import Gallery
    from hotfill.upgrade.engine import Upgrade
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.phases import Phase

Command: TypeAlias = Literal["start", "verify", "cutover", "rollback", "complete", "abort"]


class Run(BaseModel):
    """One step that was given. Times are seconds since the epoch.

    by: who gave it. ended_at: None while it runs. error: as a problem document, when it failed.
    result: what it found, for `verify`.
    """

    model_config = ConfigDict(frozen=True)

    step: Command
    by: str
    began_at: float
    ended_at: float | None = None
    error: dict[str, Any] | None = None
    result: dict[str, Any] | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.ended_at is None


class StepRunner:
    """Runs steps on one open gallery.

    on_phase: as the engine's. probes: as the engine's.
    """

    on_end: Callable[[], object]
    """Called when a step has ended."""

    def __init__(
        self,
        project: Project,
        gallery: Gallery,
        journal: Journal,
        *,
        on_phase: Callable[[Phase], None],
        probes: Mapping[str, Callable[[], float]],
    ) -> None:
        self._project = project
        self._gallery = gallery
        self._journal = journal
        self._on_phase = on_phase
        self._probes = probes
        self.on_end = lambda: None
        self._progress = Progress()  # of this process, whichever step it runs
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._last: Run | None = None

    @property
    def last(self) -> Run | None:
        """The step that runs, or else the one before."""
        return self._last

    def begin(self, step: Command, by: str, *, retry_dead_letters: bool = False) -> Run:
        """Run a step in a thread of its own, and return at once.

        Raises PhaseError when the phase does not allow it, UpgradeBusyError when a step runs.
        Only `abort` may come while `start` runs: that then lets go.
        """
        with self._lock:
            advance(self._journal.phase, Step(step))
            before = self._thread
            if self._last and self._last.running:
                if not (step == "abort" and self._last.step == "start"):
                    raise _busy_with(self._last)
                control.abort(self._journal)
            run = self._last = Run(step=step, by=by, began_at=time.time())
            self._thread = threading.Thread(
                target=self._run, args=(run, before, retry_dead_letters), name=f"hotfill-{step}"
            )
            self._thread.start()
        return run

    def wait(self) -> Run | None:
        """Wait for the step that runs."""
        if thread := self._thread:
            thread.join()
        return self._last

    def close(self) -> None:
        """Let the step that runs finish its batches in hand, and wait for that."""
        self._stop.set()
        self.wait()

    def _run(self, run: Run, before: threading.Thread | None, retry_dead_letters: bool) -> None:
        if before is not None:
            before.join()
        result, error = None, None
        try:
            result = self._do(run, retry_dead_letters)
        except HotfillError as ours:
            error = {"status": status_of(ours), **described(ours)}
        except Exception as unforeseen:  # of a hook, an embedder, a source: it must be shown
            error = {"status": 500, "kind": type(unforeseen).__name__, "detail": str(unforeseen)}
        with self._lock:
            if self._last is run:  # not when an abort came in between
                self._last = run.model_copy(
                    update={"ended_at": time.time(), "result": result, "error": error}
                )
        self.on_end()

    def _do(self, run: Run, retry_dead_letters: bool) -> dict[str, Any] | None:
        upgrade = self._upgrade(run.step, run.by)
        match run.step:
            case "start":
                upgrade.start(retry_dead_letters=retry_dead_letters)
            case "verify":
                return upgrade.verify().to_dict()
            case "cutover":
                upgrade.cutover()
            case "rollback":
                upgrade.rollback()
            case "complete":
                upgrade.complete()
            case "abort":
                upgrade.abort()
        return None

    def _upgrade(self, step: Command, by: str) -> Upgrade:
        """Build the engine. `start` follows the file, the others what the upgrade began with."""
        plan = None if step == "start" else self._project.plan_in_force(self._journal)
        upgrade = self._project.upgrade(self._gallery, self._journal, plan)
        upgrade.progress = self._progress
        upgrade.stop = self._stop
        upgrade.probes = self._probes
        upgrade.on_phase = self._on_phase
        upgrade.by = by
        return upgrade


def _busy_with(run: Run) -> UpgradeBusyError:
    message = f"{run.step}, given by {run.by}, is running; wait until it has ended"
    return UpgradeBusyError(message, os.getpid())
