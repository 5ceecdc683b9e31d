"""Two models that look their vectors up: what a tool costs is the tool's own.

Nothing but numpy, so that it runs in the environment of every neighbour. What the new model is
asked for is noted in the file `$PEERS_LOG`, a number for each text, and it kills its process
without a word when it was asked for `$PEERS_DIE_AT` different items of the gallery.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np


class World:
    """Texts and what two models make of them: items are 0 ... n - 1, then the queries."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        said = json.loads((self.folder / "texts.json").read_text(encoding="utf-8"))
        self.gallery: list[str] = said["gallery"]
        self.queries: list[str] = said["queries"]
        self.probes: list[str] = said["probes"]
        self.relevant_to_probes: list[list[int]] = said["relevant_to_probes"]
        self.order: list[int] = said["order"]  # in which items are re-embedded, where a tool asks

    def vectors(self, side: str) -> np.ndarray:
        """All vectors of "old" or "new": gallery, queries, probes; (n + q + p, d) float32."""
        return np.load(self.folder / f"{side}.npy", mmap_mode="r")


class Model:
    """A model by its side, "old" or "new": a list of texts gives (n, dimension) float32."""

    def __init__(
        self,
        folder: str | Path,
        side: str,
        *,
        log: str | None = None,
        die_at: float | None = None,
        victim: Path | None = None,
    ) -> None:
        """victim: a file with the process id to kill; without it this process is killed."""
        world = World(folder)
        self._vectors, self.side, self._items = world.vectors(side), side, len(world.gallery)
        self.dimension = self._vectors.shape[1]
        texts = (*world.gallery, *world.queries, *world.probes)
        self._row = {text: row for row, text in reversed([*enumerate(texts)])}
        self._log = log or os.environ.get("PEERS_LOG")
        self._die_at = die_at or float(os.environ.get("PEERS_DIE_AT", "inf"))
        self._victim = victim
        self._seen: set[int] = set(noted(self._log)) if self._log else set()

    def __contains__(self, text: str) -> bool:
        return text in self._row

    @property
    def any_text(self) -> str:
        """One that no item has: a query."""
        return next(text for text, row in self._row.items() if row >= self._items)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = [self._row[text] for text in texts]
        if self.side == "new" and self._log:
            for start in range(0, len(rows), 64):  # a tool may ask for all in one call
                self._note([row for row in rows[start : start + 64] if row < self._items])
        return np.array(self._vectors[rows])

    __call__ = embed

    def _note(self, rows: list[int]) -> None:
        with open(str(self._log), "ab") as log:
            log.write(np.asarray(rows, dtype=np.uint32).tobytes())
        self._seen.update(rows)
        if len(self._seen) >= self._die_at:
            self._die_at = float("inf")
            os.kill(int(self._victim.read_text()) if self._victim else os.getpid(), signal.SIGKILL)


def noted(log: str | Path) -> list[int]:
    """Rows of the gallery that the new model was asked for, each as often as it was."""
    path = Path(log)
    return np.fromfile(path, dtype=np.uint32).tolist() if path.exists() else []
