"""One process at a time leads an upgrade; the operating system frees the lock of a dead one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotfill.errors import UpgradeBusyError
from hotfill.locks import ProcessLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def running_lock(path: Path, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold a lock file for a block.

    wait_seconds: how long to wait for another process to end.
    Raises UpgradeBusyError naming the process that holds it.
    """
    lock = ProcessLock(path)
    if not lock.acquire(wait_seconds):
        raise busy(lock.noted_pid or 0)
    try:
        yield
    finally:
        lock.release()


def busy(pid: int) -> UpgradeBusyError:
    """Make the error that says who leads the upgrade. pid: 0 where it is not known."""
    return UpgradeBusyError(
        f"process {pid or 'unknown'} is running this upgrade; watch it with `hotfill watch`, or "
        "end it first (it can be killed at any moment: nothing is lost)",
        pid,
    )


def lost_the_lead(pid: int) -> UpgradeBusyError:
    """Make the error of a process that led until another took its place."""
    return UpgradeBusyError(
        f"process {pid or 'unknown'} leads this upgrade now: this one lost its lock, and stopped "
        "before it wrote anything more; watch the other with `hotfill watch`",
        pid,
    )
