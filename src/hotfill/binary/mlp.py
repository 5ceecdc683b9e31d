"""One block of the encoder's networks, applied with numpy: linear, ReLU, linear.

In training a batch normalisation stands before the ReLU; its running statistics are folded into
the first linear map when the network is exported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.types import Vectors

_PARTS = ("inner", "inner_bias", "outer", "outer_bias")


@dataclass(frozen=True)
class Mlp:
    """outer @ relu(inner @ x + inner_bias) + outer_bias, row by row, all float32."""

    inner: NDArray[np.float32]
    inner_bias: NDArray[np.float32]
    outer: NDArray[np.float32]
    outer_bias: NDArray[np.float32]

    def __call__(self, rows: Vectors) -> Vectors:
        """Map rows (n, inputs) to (n, outputs)."""
        hidden = rows @ self.inner.T
        hidden += self.inner_bias
        np.maximum(hidden, 0, out=hidden)
        return np.asarray(hidden @ self.outer.T + self.outer_bias)

    def arrays(self, prefix: str) -> dict[str, NDArray[np.float32]]:
        """Return the weights by name, for a file."""
        return {f"{prefix}.{part}": getattr(self, part) for part in _PARTS}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.float32]], prefix: str) -> Mlp | None:
        """Read the weights back; None where there are none of that name."""
        if f"{prefix}.inner" not in arrays:
            return None
        return cls(*(arrays[f"{prefix}.{part}"] for part in _PARTS))
