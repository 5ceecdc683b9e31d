"""What the upgrade of `run.py` names: an embedder that sleeps, and notes what it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from benchmarks.million.world import NEW, OLD, Rows, contents

__all__ = ["contents", "new", "old"]


class Noting(Rows):
    """Sleeps for each item; items embedded so far stand in a file for each process."""

    def __init__(self, folder: str, seconds_per_item: float, notes: str) -> None:
        super().__init__(NEW, folder, seconds_per_item, slow_items=10**12)
        self.notes = Path(notes)

    def __call__(self, contents):
        found = super().__call__(contents)
        with (self.notes / f"{os.getpid()}.bin").open("ab") as file:
            file.write(np.asarray(contents, dtype=np.uint32).tobytes())
        return found


def old(folder: str) -> Rows:
    return Rows(OLD, folder)


def new(folder: str, seconds_per_item: float, notes: str) -> Noting:
    return Noting(folder, seconds_per_item, notes)
