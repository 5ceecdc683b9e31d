"""Locks: one process at a time in a folder; many readers or one writer in a process.

Locks between processes are files, by the library filelock, on Linux, macOS and Windows. The
operating system keeps them, so a holder that was killed leaves nothing to clean up. Who holds
one stands in a file of its own, for messages: on Windows a locked file cannot be read by others.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from threading import Condition, Lock, get_ident
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from hotfill.errors import StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_POLL_SECONDS = 0.1
_ON_WINDOWS = os.name == "nt"


def process_exists(pid: int) -> bool:
    """Tell whether a process of this machine lives; also true of one that is another user's."""
    if _ON_WINDOWS:
        # There signal 0 is Ctrl-C: asking so would end who is asked.
        import psutil

        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class ProcessLock:
    """A lock that one process at a time holds, until it releases it or ends, however it ends.

    Two objects of one process exclude each other, too; any thread may release.
    """

    def __init__(self, path: Path) -> None:
        """Take nothing yet. path: of the lock; a file of that name and ".pid" names the holder."""
        self._lock = FileLock(path, thread_local=False)
        self._note = path.with_name(f"{path.name}.pid")

    def acquire(self, wait_seconds: float = 0.0) -> bool:
        """Take the lock; False when another still has it after `wait_seconds`."""
        try:
            self._lock.acquire(timeout=wait_seconds, poll_interval=_POLL_SECONDS)
        except Timeout:
            return False
        self._note.write_text(f"{os.getpid()}\n")
        return True

    def release(self) -> None:
        """Let others have the lock. Idempotent."""
        self._lock.release()

    @property
    def noted_pid(self) -> int | None:
        """The process that took the lock last, if it could write that down."""
        try:
            return int(self._note.read_text())
        except (OSError, ValueError):
            return None


def holder(path: Path) -> int | None:
    """Return the process that holds the lock of a file; None when none does. Changes nothing.

    Only for explaining another failure: the answer may be out of date at once, and a process that
    tries the lock at this very moment finds it taken.
    """
    if not path.exists():
        return None
    lock = ProcessLock(path)
    if not _taken(lock):
        return None
    return lock.noted_pid


def _taken(lock: ProcessLock) -> bool:
    try:
        lock._lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


class FolderLock:
    """Holds a folder for this process until released, or until the process ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock. Raises StoreBusyError, naming the process that has it."""
        self._lock = ProcessLock(folder / "lock")
        if not self._lock.acquire():
            pid = self._lock.noted_pid
            raise StoreBusyError(
                f"{folder} is open in process {'unknown' if pid is None else pid}, and this store "
                "takes one process at a time: stop that one, or search and write through it",
                retryable=True,
                pid=pid,
            )

    def release(self) -> None:
        """Let others in. Idempotent."""
        self._lock.release()


@contextmanager
def locked(folder: Path) -> Iterator[FolderLock]:
    """Hold a folder for what the block opens there, and beyond it; let it go if the block fails."""
    lock = FolderLock(folder)
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


class FairLock:
    """A lock of threads that goes to who waits before it goes to who had it last. Re-entrant.

    A plain one goes to whoever asks first: mostly to the thread that has just let go of it, for
    seconds on end.
    """

    def __init__(self) -> None:
        self._lock, self._turn = Lock(), Lock()  # who waits for the one has the other
        self._holder: int | None = None
        self._depth = 0

    def __enter__(self) -> None:
        if self._holder != get_ident():
            with self._turn:
                self._lock.acquire()
            self._holder = get_ident()
        self._depth += 1

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._holder = None
            self._lock.release()


class ReadWriteLock:
    """Lets in any number of readers or one writer; a waiting writer goes before new readers.

    FAISS takes no search while an index changes.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._readers = 0
        self._writers_waiting = 0
        self._writing = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Be one of the readers. Not to be entered again by the same thread."""
        with self._changed:
            self._changed.wait_for(lambda: not self._writing and not self._writers_waiting)
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be alone. Not to be entered again by the same thread."""
        with self._changed:
            self._writers_waiting += 1
            self._changed.wait_for(lambda: not self._writing and not self._readers)
            self._writers_waiting -= 1
            self._writing = True
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
