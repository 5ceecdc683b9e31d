"""What is left after a power cut: only what had reached the disk.

A library that is preloaded (`recorder.c`) keeps, after each sync of a process, the content of the
synced file and all names. From that the folder as of any sync is put together again.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_SOURCE = Path(__file__).with_name("recorder.c")


@functools.cache
def recorder() -> Path | None:
    """Compile the library; None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    folder = tempfile.mkdtemp(prefix="hotfill-recorder-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = Path(folder) / "recorder.so"
    words = [compiler, "-O1", "-shared", "-fPIC", "-o", str(made), str(_SOURCE), "-ldl"]
    subprocess.run(words, check=True, capture_output=True)
    return made


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder; blocks of zeros become holes, since stores preallocate their files."""
    shutil.copytree(source, target, copy_function=_copy_file)


def _copy_file(source: str | Path, target: str | Path) -> None:
    with open(source, "rb") as read, open(target, "wb") as written:
        while block := read.read(1 << 16):
            if block.count(0) == len(block):
                written.seek(len(block), 1)
            else:
                written.write(block)
        written.truncate()


class Disk:
    """What has reached the disk of a folder. It is taken to be whole when this is made.

    place: an empty folder for the record, removed by `forget`. environment: for the processes that
    write to the folder; they need the recorder preloaded.
    """

    def __init__(self, root: Path, place: Path) -> None:
        self._root, self._place = root.resolve(), place
        self._base, self._kept = place / "base", place / "kept"
        self._kept.mkdir()
        copy_tree(self._root, self._base)
        self._numbers = {
            path.stat().st_ino: self._base / path.relative_to(self._root)
            for path in self._root.rglob("*")
            if path.is_file()
        }

    @property
    def environment(self) -> dict[str, str]:
        return {"SYNC_ROOT": str(self._root), "SYNC_KEPT": str(self._kept)}

    @property
    def syncs(self) -> int:
        """How many syncs there were."""
        return len(self._whole())

    def _whole(self) -> list[Path]:
        # The last one may be half recorded: the process was killed over it, and it never returned.
        lock = self._kept / "lock"
        last = int.from_bytes(lock.read_bytes(), sys.byteorder) if lock.exists() else 0
        return [self._kept / f"{number:06}" for number in range(1, last + 1)]

    def cut_power(self, after: int | None = None) -> None:
        """Put the folder back to what had reached the disk after so many syncs; by default all."""
        contents = dict(self._numbers)
        names: list[tuple[str, int, str]] | None = None
        for moment in self._whole()[:after]:
            lines = (moment / "names").read_text().splitlines()
            names = [(kind, int(n), name) for kind, n, name in (i.split(" ", 2) for i in lines)]
            there = {number for _, number, _ in names}
            contents = {n: path for n, path in contents.items() if n in there}
            contents |= {int(p.name): p for p in moment.iterdir() if p.name.isdigit()}
        fresh = self._root.with_name(self._root.name + ".fresh")
        if names is None:
            copy_tree(self._base, fresh)
        else:
            fresh.mkdir()
            for kind, number, name in sorted(names, key=lambda each: each[2]):
                path = fresh / name.lstrip("/")
                if kind == "d":
                    path.mkdir(exist_ok=True)
                elif number in contents:
                    _copy_file(contents[number], path)
                else:
                    path.touch()  # its name came along with another file's sync
        shutil.rmtree(self._root)
        fresh.rename(self._root)

    def forget(self) -> None:
        """Remove the record."""
        shutil.rmtree(self._place)
