"""Runs an operator's steps in a thread, one at a time, and keeps how the last one went."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, computed_field

from hotfill.errors import HotfillError, UpgradeBusyError
from hotfill.service.problems import described, status_of
from hotfill.upgrade import control
from hotfill.upgrade.phases import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.upgrade.upgrade import Upgrade

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
    """Runs the steps of one upgrade."""

    on_end: Callable[[], object]
    """Called when a step has ended."""

    def __init__(self, up: Upgrade) -> None:
        self._up = up
        self.on_end = lambda: None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._last: Run | None = None

    @property
    def last(self) -> Run | None:
        """The step that runs, or else the one before."""
        return self._last

    def begin(
        self, step: Command, by: str, *, retry_dead_letters: bool = False, more: bool = False
    ) -> Run:
        """Run a step in a thread of its own, and return at once.

        retry_dead_letters, more: of `start`; see `Upgrade.start`.
        Raises PhaseError when the phase does not allow it, UpgradeBusyError when a step runs.
        Only `abort` may come while `start` runs: that then lets go.
        """
        with self._lock:
            self._up.check(Step(step), more=more)
            before = self._thread
            if self._last and self._last.running:
                if not (step == "abort" and self._last.step == "start"):
                    raise _busy_with(self._last)
                control.abort(self._up.journal)
            run = self._last = Run(step=step, by=by, began_at=time.time())
            do = partial(self._do, run, retry_dead_letters=retry_dead_letters, more=more)
            self._thread = threading.Thread(
                target=self._run, args=(run, before, do), name=f"hotfill-{step}"
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
        self._up.stop()
        self.wait()

    def _run(self, run: Run, before: threading.Thread | None, do: Callable[[], Any]) -> None:
        if before is not None:
            before.join()
        result, error = None, None
        try:
            result = do()
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

    def _do(self, run: Run, *, retry_dead_letters: bool, more: bool) -> dict[str, Any] | None:
        with self._up.session(by=run.by) as up:
            match run.step:
                case "start":
                    up.start(retry_dead_letters=retry_dead_letters, more=more)
                case "verify":
                    return up.verify().to_dict()
                case "cutover":
                    up.cutover()
                case "rollback":
                    up.rollback()
                case "complete":
                    up.complete()
                case "abort":
                    up.abort()
        return None


def _busy_with(run: Run) -> UpgradeBusyError:
    message = f"{run.step}, given by {run.by}, is running; wait until it has ended"
    return UpgradeBusyError(message, os.getpid())
