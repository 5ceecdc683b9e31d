"""What happens to a float vector before it is binarised: unit length, centre, project, unit length.

The encoder itself (BEBR, section 1.2) takes unit vectors. Projecting on the leading principal
directions first buys more bits per dimension for the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hotfill.errors import InputError
from hotfill.vectors import check_vectors, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.types import Vectors


@dataclass(frozen=True)
class Preparation:
    """Centring and projection of unit vectors.

    mean: float32 (source dimension,), subtracted. projection: float32 (kept, source dimension)
    with orthonormal rows, or None to keep all dimensions.
    """

    mean: NDArray[np.float32]
    projection: NDArray[np.float32] | None

    @property
    def kept(self) -> int:
        """Dimensions that remain."""
        return len(self.mean) if self.projection is None else len(self.projection)

    def unit(self, vectors: Vectors) -> Vectors:
        """Scale rows to unit length. Raises ShapeError, VectorError."""
        return unit(check_vectors(vectors, len(self.mean), what="vectors to binarise"))

    def items(self, vectors: Vectors) -> tuple[Vectors, NDArray[np.float32]]:
        """Prepare items: unit rows (n, kept), and their lengths before, float32 (n,).

        A row that equals the mean has no direction: it becomes zeros of length zero.
        """
        rows = self._project(self.unit(vectors) - self.mean)
        lengths = np.linalg.norm(rows, axis=1).astype(np.float32)
        return rows / np.maximum(lengths, np.float32(1e-12))[:, None], lengths

    def queries(self, vectors: Vectors) -> Vectors:
        """Prepare float queries: projected, but not centred and not scaled again, (n, kept).

        So that <query, item> = <query, mean> + <prepared query, prepared item> * its length.
        """
        return self._project(self.unit(vectors))

    def restore(self, rows: Vectors) -> Vectors:
        """Carry prepared rows, lengths included, back to the source space."""
        back = rows if self.projection is None else rows @ self.projection
        return np.asarray(back + self.mean, np.float32)

    def _project(self, rows: Vectors) -> Vectors:
        return rows if self.projection is None else np.asarray(rows @ self.projection.T)


def fit_preparation(vectors: Vectors, kept: int, *, centre: bool) -> Preparation:
    """Fit mean and principal directions on vectors, float32 (n, dimension).

    kept: dimensions to keep, 1 ... dimension. centre: subtract the mean; leave it off when codes
    are compared with codes, since their cosine would then be that of centred vectors.
    Raises ShapeError, VectorError, InputError (too few rows to find the directions).
    """
    dimension = np.shape(vectors)[-1]
    plain = Preparation(np.zeros(dimension, np.float32), None)
    rows = plain.unit(vectors)
    mean = rows.mean(axis=0) if centre else plain.mean
    if kept >= dimension:
        return Preparation(mean.astype(np.float32), None)
    if len(rows) < kept:
        raise InputError(
            f"{kept} principal directions need at least {kept} vectors, got {len(rows)}"
        )
    moments = np.asarray(rows - mean, np.float64)
    _, directions = np.linalg.eigh(moments.T @ moments)
    leading = directions[:, ::-1][:, :kept].T
    return Preparation(mean.astype(np.float32), np.ascontiguousarray(leading, np.float32))
