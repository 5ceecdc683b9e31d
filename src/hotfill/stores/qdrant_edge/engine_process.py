"""Work of the engine in a process of its own, which may take long, or die.

Indexes. The engine's `optimize` holds Python's global lock until it is done (0.9.0): minutes in
which no thread of this process searches, writes or answers anybody. So another process does that
work on a copy, and the gallery then carries over what was written in between and changes over.

A full disk. The engine writes through mapped files, and opening a shard plays back its log. Where
the disk has no room for that the system ends the process (SIGBUS). So another process tries first.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from hotfill.errors import StoreError, StoreFullError
from hotfill.stores.qdrant_edge.shard import Shard

_ROOM = 2.5  # times the shard's size: the copy, and what the engine writes next to it
_NICENESS = 10  # indexes are built with what searches leave over


def copy_shard(shard: Path, copy: Path) -> None:
    """Copy the files of a flushed shard to which nothing is written at the same time."""
    size = sum(file.stat().st_size for file in shard.rglob("*") if file.is_file())
    free = shutil.disk_usage(shard).free
    if free < _ROOM * size:
        raise StoreFullError(
            f"optimising needs about {_ROOM * size / 1e6:,.0f} MB next to {shard}, "
            f"and {free / 1e6:,.0f} MB are free"
        )
    shutil.copytree(shard, copy)


def build_indexes(shard: Path) -> None:
    """Optimise a shard in another process. Raises StoreError when that fails."""
    code, last = _run("optimise", shard)
    if code != 0:
        raise StoreError(
            f"the process that optimised {shard} ended with {code}: {last}; "
            "the gallery is as it was",
            retryable=True,
        )


def check_opens(shard: Path) -> None:
    """Open a shard on a full disk in another process. Raises StoreFullError when that fails."""
    code, last = _run("open", shard)
    if code != 0:
        raise StoreFullError(
            f"{shard} cannot be opened while the disk is this full: the engine needs some room "
            f"for it (a process that tried ended with {code}: {last}); nothing is lost: "
            "make room and open it again",
            retryable=True,
        )


def main() -> None:
    """Do one of the two, and end."""
    _end_with_parent()
    os.nice(_NICENESS)
    what, folder = sys.argv[1:]
    shard = Shard.load(Path(folder), exact=False, ef=None)
    if what == "optimise":
        shard.optimise()
    shard.flush()
    shard.close()


def _run(what: str, shard: Path) -> tuple[int, str]:
    """Run `main` in another process. Returns its exit status and the last thing it said."""
    command = [sys.executable, "-c", f"from {__name__} import main; main()", what, str(shard)]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=here, capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines()
    return done.returncode, said[-1] if said else "it said nothing"


def _end_with_parent() -> None:
    """On Linux: die when the gallery's process dies, which would have no use for the result."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
