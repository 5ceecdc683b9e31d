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
                file.seek(0)
                pid = int(file.read() or 0)
                raise UpgradeBusyError(
                    f"process {pid} is running this upgrade; watch it with `hotfill watch`, or "
                    "end it first (it can be killed at any moment: nothing is lost)",
                    pid,
                )
            time.sleep(_POLL_SECONDS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
