"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from hotfill.errors import StoreBusyError

if TYPE_CHECKING:
    from pathlib import Path


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
        """Let others in. Again is harmless."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
