"""What a command says: text for people, or exactly one JSON object for programs.

The result goes to stdout, everything else (progress, questions, errors) to stderr. What an
embedder, a source or a hook prints to stdout is sent to stderr too.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG
from hotfill.cli.exit_codes import ExitCode, exit_code
from hotfill.cli.status_lines import status_lines, steps_now
from hotfill.errors import HotfillError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from hotfill.upgrade.status import Status


_log = logging.getLogger("hotfill.cli")
_log.addHandler(logging.NullHandler())  # what it logs is said to people, too: not twice
_verbosity = 0
_ENDED = "nothing, this has ended; `hotfill start --new` begins another"


def be_verbose(level: int, log_file: Path | None) -> None:
    """Set how much is said: -1 results and errors only, 0 progress too, 1 logs, 2 debug logs.

    log_file: takes the logs of hotfill, of level INFO or lower. Raises InputError when it cannot
    be written.
    """
    global _verbosity
    _verbosity = level
    logger = logging.getLogger("hotfill")
    shown = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}.get(level, logging.DEBUG)
    logger.setLevel(min(shown, logging.INFO) if log_file else shown)
    if level > 0:
        _add_handler(logger, logging.StreamHandler(sys.stderr), shown)
    if log_file is not None:
        try:
            handler = logging.FileHandler(log_file, encoding="utf-8")
        except OSError as error:
            raise InputError(f"--log-file {log_file}: {error.strerror}") from error
        _add_handler(logger, handler, logging.DEBUG)


def verbosity() -> int:
    """Return the level set by -v and -q."""
    return _verbosity


def _add_handler(logger: logging.Logger, handler: logging.Handler, level: int) -> None:
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)


@dataclass(slots=True)
class Report:
    """The result of one command, gathered while it runs and printed at its end.

    values: the JSON object. lines: the same for people. code: the exit code.
    """

    config: Path
    as_json: bool
    values: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    code: ExitCode = ExitCode.OK

    def add(self, values: dict[str, Any], lines: Sequence[str] = ()) -> None:
        """Add to the result."""
        self.values.update(values)
        self.lines.extend(lines)

    def status(self, status: Status) -> None:
        """Add where the upgrade is, and what is possible there."""
        self.add(status.to_dict(), status_lines(status))
        self.next(steps_now(status))

    def next(self, steps: Sequence[str]) -> None:
        """Say which commands are possible now."""
        commands = " | ".join(self.command(step) for step in steps)
        self.add({"next_steps": list(steps)}, [f"next: {commands or _ENDED}"])

    def command(self, step: str) -> str:
        """Return a command line that can be pasted."""
        return f"hotfill {step}" + ("" if self.config == DEFAULT_CONFIG else f" {self.config}")

    def note(self, text: str) -> None:
        """Say something to people now, on stderr; not with --quiet."""
        _log.info(text)
        if verbosity() >= 0:
            console(sys.stderr).print(text, markup=False)

    def confirm(self, question: str) -> None:
        """Ask before what cannot be undone. Raises InputError where nobody can answer."""
        if not interactive():
            raise InputError(f"{question} Nobody is there to answer; if you mean it, add --yes")
        if not typer.confirm(question, err=True):
            raise InputError("not confirmed; nothing was changed")


@contextmanager
def reporting(config: Path, as_json: bool) -> Iterator[Report]:
    """Print the result of the block, or its error in one line; then end with the exit code."""
    report = Report(config, as_json)
    stdout = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield report
    except HotfillError as error:
        report.code = exit_code(error)
        report.values = {"error": _described(error, report.code)}
        report.lines = []
        _log.error("%s", error, exc_info=error.__cause__ is not None and verbosity() > 0)
        console(sys.stderr).print(f"error: {error}", style="red", markup=False)
    if report.as_json:
        stdout.write(json.dumps(report.values, indent=2) + "\n")
        stdout.flush()
    else:
        for line in report.lines:
            console(stdout).print(line, markup=False)
    if report.code:
        raise typer.Exit(report.code)


def check_writable(*files: Path | None) -> None:
    """Raise InputError where a file that is to be written has no folder. Call it before the work.

    files: None for those that nobody asked for; `-` for stdout.
    """
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise InputError(f"{file}: the folder {file.parent} is not there")
        if file is not None and file.is_dir():
            raise InputError(f"{file}: expected a file, found a folder")


def interactive() -> bool:
    """Tell whether somebody can be asked."""
    return sys.stdin.isatty()


def console(file: TextIO) -> Console:
    """Return a console that colours on a terminal only, and never breaks lines."""
    from rich.console import Console  # costs more than all other imports together

    return Console(file=file, soft_wrap=True, highlight=False)


def _described(error: HotfillError, code: ExitCode) -> dict[str, Any]:
    attributes = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(error).items()
        if isinstance(value, tuple | str | int | float | bool)
    }
    return {
        **attributes,
        "kind": type(error).__name__,
        "message": str(error),
        "exit_code": int(code),
    }
