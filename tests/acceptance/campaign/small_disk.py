"""A disk that is quickly full: a file system in memory, which only root may mount."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path


class SmallDisk:
    """A mounted folder."""

    def __init__(self, folder) -> None:
        self.folder = folder

    @contextmanager
    def filled(self, leave: int):
        """Leave so many bytes of room during the block."""
        path = self.folder / "filler"
        with path.open("wb", buffering=0) as file, suppress(OSError):  # the last finds no room
            while (free := shutil.disk_usage(self.folder).free) > leave:
                file.write(bytes(min(free - leave, 2**20)))
        try:
            yield
        finally:
            path.unlink()


@contextmanager
def small_disk(megabytes: int):
    """Mount one for the block, where every user may enter; None where that is not allowed."""
    folder = Path(tempfile.mkdtemp(prefix="hotfill-disk-"))
    folder.chmod(0o711)
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0711", "tmpfs", str(folder)]
    is_mounted = shutil.which("mount") and not subprocess.run(words, capture_output=True).returncode
    try:
        yield SmallDisk(folder) if is_mounted else None
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()
