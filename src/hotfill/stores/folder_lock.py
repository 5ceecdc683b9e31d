"""One process at a time in a folder of ours."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hotfill.errors import StoreBusyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator


class FolderLock:
    """Holds a folder for this process until released, or until the process ends however it ends.

    The operating system keeps the lock, so a killed holder leaves nothing to clean up. The file
    names the holder for people and messages only.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock. Raises StoreBusyError, naming the process that has it."""
        self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise StoreBusyError(
                f"{folder} is open in process {holder}, and this store takes one process at a "
                "time: stop that one, or search and write through it",
                retryable=True,
                pid=int(holder) if holder.isdigit() else None,
            ) from error
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let others in. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@contextmanager
def locked(folder: Path) -> Iterator[FolderLock]:
    """Take the lock of a folder for what the block opens there; if that fails, let it go again."""
    lock = FolderLock(folder)
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


def new_folder(path: str | Path) -> Path:
    """Make a folder for a gallery. Raises StoreError when there is something in it."""
    folder = Path(path)
    if folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty: open it, or name a folder that is")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
