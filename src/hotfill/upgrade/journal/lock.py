"""One process at a time runs an upgrade. The operating system frees the lock of a dead process."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotfill.errors import UpgradeBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

_POLL_SECONDS = 0.1


@contextmanager
def running_lock(path: Path, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold a lock file for a block.

    wait_seconds: how long to wait for another process to end.
    Raises UpgradeBusyError naming the process that holds it.
    """
    deadline = time.monotonic() + wait_seconds
    with path.open("a+") as file:
        while not _locked(file.fileno()):
            if time.monotonic() >= deadline:
                raise busy(_pid(file))
            time.sleep(_POLL_SECONDS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def holder(path: Path) -> int | None:
    """Tell which process holds a lock file; None when none does. Changes nothing.

    Only for saying why something else failed: the answer may be out of date at once, and a process
    that tries the lock at this very moment finds it taken.
    """
    if not path.exists():
        return None
    with path.open() as file:
        return None if _locked(file.fileno()) else _pid(file)


def busy(pid: int) -> UpgradeBusyError:
    """Make the error that says who is running the upgrade."""
    return UpgradeBusyError(
        f"process {pid} is running this upgrade; watch it with `hotfill watch`, or end it first "
        "(it can be killed at any moment: nothing is lost)",
        pid,
    )


def lost_the_lead(pid: int) -> UpgradeBusyError:
    """Make the error of a process that led until another took its place."""
    return UpgradeBusyError(
        f"process {pid} leads this upgrade now: this one lost its lock, and stopped before it "
        "wrote anything more; watch the other with `hotfill watch`",
        pid,
    )


def _pid(file: TextIO) -> int:
    file.seek(0)
    return int(file.read() or 0)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
