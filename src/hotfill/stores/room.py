"""Room on the disk, asked for before a write and not found missing in the middle of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from hotfill.errors import StoreFullError

if TYPE_CHECKING:
    from pathlib import Path

MIN_FREE_BYTES = 64 * 2**20
_COPIES = 4  # log, vector, retired vector, and slack


def check_room(folder: Path, n_bytes: int) -> None:
    """Raise StoreFullError unless a write of this many bytes of vectors leaves the disk some room.

    For engines that write through mapped files: there a full disk is no error that a program could
    catch but a bus error, which ends the process (seen with Qdrant Edge 0.9.0 on a full tmpfs).
    """
    free = shutil.disk_usage(folder).free
    wanted = MIN_FREE_BYTES + _COPIES * n_bytes
    if free < wanted:
        raise StoreFullError(
            f"{folder}: this write needs {wanted / 1e6:,.0f} MB of free space to be safe, and "
            f"{free / 1e6:,.0f} MB are left; nothing was written: make room and call again",
            retryable=True,
        )
