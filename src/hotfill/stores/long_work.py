"""Work of a store that takes long: how it is given up, and how it is done in another process.

A call into an engine's native code cannot be ended by whoever waits for it; Qdrant Edge's even
holds Python's global lock until it is done (0.9.0), minutes in which no thread of its process
searches, writes or answers anybody. A process can be ended at any time, and may die by itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Iterator

_NICENESS = 10  # indexes are built with what searches leave over
_POLL_SECONDS = 0.1  # how soon work that is given up ends


class AbandonedError(Exception):
    """Nobody wants any more what was in hand. No error to people: the store is as it was."""


@final
class InHand:
    """What one thread has in hand, and another may give up. What begins later is not given up."""

    def __init__(self) -> None:
        self._given_up: threading.Event | None = None

    @contextmanager
    def taken(self) -> Iterator[threading.Event]:
        """Have something in hand for the block, which may end by AbandonedError.

        Yields what is set once it is given up.
        """
        self._given_up = given_up = threading.Event()
        try:
            with suppress(AbandonedError):
                yield given_up
        finally:
            self._given_up = None

    def give_up(self) -> None:
        """Give up what is in hand, if anything is."""
        if (given_up := self._given_up) is not None:
            given_up.set()


def check_wanted(given_up: threading.Event) -> None:
    """Raise AbandonedError once something is given up."""
    if given_up.is_set():
        raise AbandonedError


def run_apart(work: str, *given: str, given_up: threading.Event | None = None) -> tuple[int, str]:
    """Run a function in a process of its own, which ends when this one does (on Linux).

    work: "module:function", which takes texts. given_up: set it to end the process.
    Returns its exit status and the last thing it said. Raises AbandonedError when it was given up.
    """
    here_is = str(os.getpid())
    command = [sys.executable, "-c", f"from {__name__} import main; main()", here_is, work, *given]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipe = subprocess.PIPE
    # Ctrl-C in a terminal reaches all of a session; here the process that waits decides.
    with subprocess.Popen(
        command, env=here, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    said = process.communicate(timeout=_POLL_SECONDS)[1].strip().splitlines()
                    return process.returncode, said[-1] if said else "it said nothing"
                if given_up is not None:
                    check_wanted(given_up)
        except BaseException:
            process.kill()
            raise


def main() -> None:
    """Do the work that the command line names, and end."""
    parent, work, *given = sys.argv[1:]
    _end_with_parent(int(parent))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of a service manager: to all; see `run_apart`
    if sys.platform != "win32":
        os.nice(_NICENESS)
    module, _, name = work.partition(":")
    getattr(import_module(module), name)(*given)


def _end_with_parent(parent: int) -> None:
    """On Linux: die when the gallery's process dies, which would have no use for the result.

    Nor may who opens the gallery next find this process at work in there.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # it died before this one was ready to hear of it
            raise SystemExit("the gallery's process is gone")
