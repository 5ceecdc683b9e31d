"""Building the engine's indexes in a process of its own, on a copy of the shard.

The engine's `optimize` holds Python's global lock until it is done (0.9.0): minutes in which no
thread of this process searches, writes or answers anybody. So another process does that work on a
copy, and the gallery then carries over what was written since and changes over to the copy.

Run as: python -m hotfill.stores.qdrant_edge.rebuild FOLDER SPACE...
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hotfill.errors import StoreError, StoreFullError
from hotfill.stores.qdrant_edge.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.types import ModelId

_ROOM = 2.5  # times the shard's size: the copy, and what the engine writes next to it
_NICENESS = 10  # indexes are built with what searches leave over


def copy_shard(shard: Path, copy: Path) -> None:
    """Copy the files of a flushed shard to which nothing is written."""
    size = sum(file.stat().st_size for file in shard.rglob("*") if file.is_file())
    free = shutil.disk_usage(shard).free
    if free < _ROOM * size:
        raise StoreFullError(
            f"optimising needs about {_ROOM * size / 1e6:,.0f} MB next to {shard}, "
            f"and {free / 1e6:,.0f} MB are free"
        )
    shutil.copytree(shard, copy)


def rebuild(folder: Path, spaces: Sequence[ModelId]) -> None:
    """Optimise the shard in a folder, in another process. Raises StoreError when that fails."""
    command = [sys.executable, "-m", __name__, str(folder), *(s.fingerprint for s in spaces)]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=here, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise StoreError(
            f"the process that optimised {folder} ended with {done.returncode}: {last[0]}; "
            "the gallery is as it was",
            retryable=True,
        )


def main() -> None:
    """Lay the items of a side next to each other, build the indexes, end."""
    _end_with_parent()
    os.nice(_NICENESS)
    folder, *spaces = sys.argv[1:]
    shard = Shard.load(Path(folder), exact=False, ef=None)
    for space in spaces:
        shard.note_side(space)
    shard.optimise()
    shard.flush()
    shard.close()


def _end_with_parent() -> None:
    """On Linux: die when the gallery's process dies, which would have no use for the result."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


if __name__ == "__main__":
    main()
