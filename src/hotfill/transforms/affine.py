"""The affine map: what ridge, Procrustes and low-rank fits all give."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from hotfill.transforms.base import Transform

if TYPE_CHECKING:
    from hotfill.types import Vectors


@final
class Affine(Transform):
    """x -> x matrix + offset.

    arrays: matrix (source.dimension, target.dimension), offset (target.dimension,).
    """

    kind: ClassVar[str] = "affine"

    @property
    def matrix(self) -> np.ndarray:
        """Float32 (source.dimension, target.dimension), read-only."""
        return self._arrays["matrix"]

    @property
    def offset(self) -> np.ndarray:
        """Float32 (target.dimension,), read-only."""
        return self._arrays["offset"]

    def _check(self) -> None:
        expected = {
            "matrix": (self.source.dimension, self.target.dimension),
            "offset": (self.target.dimension,),
        }
        self._check_shapes("an affine map", expected)

    def _map(self, rows: Vectors) -> Vectors:
        return np.asarray(rows @ self.matrix + self.offset, dtype=np.float32)
