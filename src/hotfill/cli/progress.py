"""How far a running upgrade is: a bar on a terminal, status lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from hotfill.cli.status_lines import counts, duration, rate, status_lines

if TYPE_CHECKING:
    from types import TracebackType

    from hotfill.upgrade.status import Status

_LINE_SECONDS = 5.0


class Bar:
    """A progress bar on stderr. Call it with each new status."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[pace]}", markup=False),
            console=Console(file=sys.stderr),
            transient=True,
            expand=True,
        )
        self._task = self._progress.add_task("preparing", total=0, pace="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, status: Status) -> None:
        """Show the status."""
        pace = [counts(status)]
        if status.rate_per_second:
            pace.append(rate(status.rate_per_second))
        if status.eta_seconds is not None:
            pace.append(f"eta {duration(status.eta_seconds)}")
        pace += [f"held: {hold}" for hold in status.holds]
        self._progress.update(
            self._task,
            description="preparing" if status.phase == "planned" else str(status.phase),
            completed=status.moved + status.skipped,
            total=status.items,
            pace="  ".join(pace),
        )


class Ticker:
    """Status lines: at once when the phase or the holds change, else every few seconds."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._said: object = None
        self._said_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.flush()

    def __call__(self, status: Status) -> None:
        """Show the status."""
        now = time.monotonic()
        news = (status.phase, [(hold.kind, hold.about) for hold in status.holds])
        if news == self._said and now - self._said_at < _LINE_SECONDS:
            return
        self._said, self._said_at = news, now
        print(*status_lines(status, steps=True), sep="\n", file=self._file, flush=True)
