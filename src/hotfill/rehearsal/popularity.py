"""How often each item was found, where there is no query log: by the items used for fitting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hotfill.rehearsal.sample import Sample

TOP = 10
MAX_LOGGED = 2000  # queries of the stand-in for a log


def old_popularity(sample: Sample) -> NDArray[np.float64]:
    """Count how often each gallery item was among the first ten of the old system: float64 (n,).

    The items used for fitting stand in for the queries of a log.
    """
    logged = sample.old.fit.read(slice(0, MAX_LOGGED))
    best = np.full((len(logged), TOP), -np.inf, dtype=np.float32)
    rows = np.zeros((len(logged), TOP), dtype=np.int64)
    for span, block in sample.old.gallery.blocks():
        scores = np.hstack([best, logged @ block.T])
        columns = np.hstack(
            [rows, np.broadcast_to(np.arange(span.start, span.stop), (len(logged), len(block)))]
        )
        top = np.argpartition(-scores, TOP - 1, axis=1)[:, :TOP]
        best = np.take_along_axis(scores, top, axis=1)
        rows = np.take_along_axis(columns, top, axis=1)
    return np.bincount(rows.ravel(), minlength=len(sample.old.gallery)).astype(np.float64)
