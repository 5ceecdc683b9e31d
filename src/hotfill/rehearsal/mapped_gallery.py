"""A gallery's vectors after a transform, made once and read again for every chunk of queries."""

from __future__ import annotations

from tempfile import TemporaryFile
from typing import TYPE_CHECKING, final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.rehearsal.sample import Side
    from hotfill.types import Vectors


@final
class MappedGallery:
    """Vectors of a gallery after a map, float32, in a temporary file that has no name.

    A map that costs a kernel row per vector is thus paid for once, and the file's pages are the
    system's to drop, so that memory does not grow with the gallery. The map is applied when scores
    are asked for the first time.
    """

    def __init__(self, gallery: Side, mapping: Callable[[Vectors], Vectors]) -> None:
        self._gallery = gallery
        self._mapping = mapping
        self._mapped: Vectors | None = None

    def scores(self, queries: Vectors) -> Vectors:
        """Inner products of queries (q, d) with all mapped vectors (n, d): float32 (q, n)."""
        mapped = self._read()
        scores = np.empty((len(queries), len(mapped)), dtype=np.float32)
        for span in self._gallery.spans():
            scores[:, span] = queries @ mapped[span].T
        return scores

    def _read(self) -> Vectors:
        if self._mapped is None:
            with TemporaryFile(prefix="hotfill-rehearse-") as file:
                dimension = 0
                for _, block in self._gallery.blocks():
                    rows = np.ascontiguousarray(self._mapping(block), dtype=np.float32)
                    dimension = rows.shape[1]
                    # Written, not mapped: a full disk is then an error instead of a dead process.
                    file.write(rows.data)
                file.flush()
                shape = len(self._gallery), dimension
                self._mapped = np.memmap(file, dtype=np.float32, mode="r", shape=shape)
        return self._mapped
