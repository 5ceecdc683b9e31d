"""While an upgrade works in this process: how far it is, and how it is stopped."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from hotfill.cli.arguments import user
from hotfill.cli.exit_codes import ExitCode
from hotfill.cli.output import verbosity
from hotfill.cli.status_lines import batches, counts, status_lines
from hotfill.formatting import duration, rate
from hotfill.tracing import exporting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType

    from rich.progress import Progress

    from hotfill.cli.output import Report
    from hotfill.upgrade.pace import StepPart
    from hotfill.upgrade.status import Status
    from hotfill.upgrade.upgrade import Upgrade

_LINE_SECONDS = 5.0
_BAR_SECONDS = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STOPPING = b"\nstopping after the batches in hand; once more to stop at once (nothing is lost)\n"


@contextmanager
def running(upgrade: Upgrade, report: Report) -> Iterator[None]:
    """Show progress on stderr while an upgrade works in this process, and let it be stopped."""
    show: Shown | None = None
    with exporting(), ExitStack() as shown, stopping(upgrade.stop):
        shown.enter_context(counted("getting ready"))  # opens the store, loads models, plans

        def on_status(status: Status) -> None:
            nonlocal show
            if show is None:
                shown.close()
                show = shown.enter_context(progress_shown(sys.stderr))
            show(status)

        with upgrade.session(by=user(), on_status=on_status):
            yield
    if upgrade.stopped:
        report.code = ExitCode.STOPPED
        report.note("stopped cleanly; run the same command to go on")


@contextmanager
def stopping(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` at the first Ctrl-C or SIGTERM; the second ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may catch signals
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def first(number: int, frame: FrameType | None) -> None:
        stop()
        for each in _SIGNALS:  # the next one ends the process, as any kill may
            signal.signal(each, signal.SIG_DFL)
        # Not `print`: the signal may have come in the middle of one.
        os.write(2, _STOPPING)

    for number in _SIGNALS:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number in _SIGNALS:
            signal.signal(number, before[number])


_SILENT_SECONDS = 2.0
"""What takes no longer is done before anybody wonders."""


class Told(Protocol):
    """Takes how far a piece of work is."""

    def __call__(self, items: int, total: int | None = None, doing: str = "", /) -> None:
        """Take how many things are done. total, doing: where they are others from now on."""
        ...


@contextmanager
def counted(
    doing: str,
    total: int | None = None,
    *,
    count: Callable[[], int] | None = None,
    part: Callable[[], StepPart | None] = lambda: None,
) -> Iterator[Told]:
    """Show on stderr how far a piece of work is, once it has taken two seconds.

    doing: what is done, such as "adopting". total: how many things there are; None: not known.
    count: tells how many are done, where nobody else does. part: what of it is done now; while
    there is such a part, that is shown.
    Yields what to tell how many are done so far; work that cannot be counted never calls it, and
    shows how long it has taken. A bar on a terminal, lines elsewhere, nothing with --quiet.
    """
    done, over = 0, threading.Event()
    began = time.monotonic()

    def told(items: int, of: int | None = None, what: str = "", /) -> None:
        nonlocal done, total, doing, began
        if what and what != doing:
            doing, began = what, time.monotonic()
        done, total = items, of or total

    def so_far() -> tuple[str, int, int | None, float]:
        if (now := part()) is not None:
            return now.what, now.done, now.total or None, now.seconds
        return doing, done if count is None else count(), total, time.monotonic() - began

    def show() -> None:
        if over.wait(_SILENT_SECONDS):
            return
        if not sys.stderr.isatty():
            while True:
                _say(*so_far())
                if over.wait(_LINE_SECONDS):
                    return
        with _bar() as bar:
            task = bar.add_task(doing, total=total, far="", pace="")
            while not over.wait(_BAR_SECONDS):
                what, items, of, seconds = so_far()
                pace = _pace(items, of, seconds)
                far = _far(items, of)
                bar.update(task, description=what, total=of, completed=items, far=far, pace=pace)

    if verbosity() < 0:
        yield told
        return
    shown = threading.Thread(target=show, name="hotfill-progress", daemon=True)
    shown.start()
    try:
        yield told
    finally:
        over.set()
        shown.join()


def _say(doing: str, done: int, total: int | None, seconds: float) -> None:
    said = (doing, _far(done, total), _pace(done, total, seconds))
    print(" ".join(word for word in said if word), file=sys.stderr, flush=True)


def _far(done: int, total: int | None) -> str:
    return f"{done:,}/{total:,}" if total else f"{done:,}" if done else ""


def _pace(done: int, total: int | None, seconds: float) -> str:
    """Say how quick it is, and how long it takes yet."""
    if not done:
        return f"{duration(seconds)} so far"
    per_second = done / seconds
    left = f"  eta {duration((total - done) / per_second)}" if total and done <= total else ""
    return f"{rate(per_second)}/s{left}"


class Shown(Protocol):
    """Shows each new status."""

    def __call__(self, status: Status, /) -> None:
        """Show it."""
        ...


def progress_shown(file: TextIO) -> AbstractContextManager[Shown]:
    """Return what shows progress: a bar on a terminal, lines elsewhere, nothing with --quiet."""
    if verbosity() < 0:
        return nullcontext(lambda status: None)
    return Bar() if file.isatty() else Ticker(file)


def _bar() -> Progress:
    from rich.console import Console  # slow to import
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[far]}"),
        TextColumn("{task.fields[pace]}", markup=False),
        console=Console(file=sys.stderr),
        transient=True,
        expand=True,
    )


class Bar:
    """A progress bar on stderr. Call it with each new status."""

    def __init__(self) -> None:
        self._progress = _bar()
        self._task = self._progress.add_task("preparing", total=0, far="", pace="")

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
        part, done, total = status.part, status.moved + status.skipped, status.items or None
        pace = []
        if part is not None:
            done, total = part.done, part.total or None
            pace.append(_pace(done, total, part.seconds))
        if status.running or status.embedded:
            pace.append(counts(status))
        if status.rate_per_second:
            pace.append(f"{rate(status.rate_per_second)}/s")
        if status.batch_size:
            pace.append(batches(status.batch_size))
        if status.eta_seconds is not None:
            pace.append(f"eta {duration(status.eta_seconds)}")
        if status.building is not None:
            pace.append(f"building an index {status.building}")
        pace += [f"held: {hold}" for hold in status.holds]
        self._progress.update(
            self._task,
            description=status.doing or str(status.phase) if part is None else part.what,
            completed=done,
            total=total,
            far=_far(done, total),
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
