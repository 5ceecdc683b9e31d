"""The recurrent forward pass: from a unit vector to the levels of its code.

BEBR's equation (method notes 1.2, read in the authors' code), per loop i:

    b_0     = sign(W(z))
    z_i     = B_i(b_i) / |B_i(b_i)|                    the code so far, carried back
    b_(i+1) = b_i + 2^-(i+1) sign(R_i(z - z_i))

We add one matrix, the *anchor* A (ours, not the paper's): W(z) gains A z and R_i gains A z - b_i.
With an anchor and no networks this is successive approximation, that is exactly the uniform grid of
A z; with networks and no anchor it is exactly the paper. With both, training starts from the grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hotfill.binary.codes import CodeFormat, Levels, levels_from_planes, quantise
from hotfill.errors import ConfigError
from hotfill.vectors import unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.binary.mlp import Mlp
    from hotfill.types import Vectors


@dataclass(frozen=True)
class Networks:
    """The learned maps: W, and per loop a reconstruction B_i and a residual map R_i."""

    first: Mlp
    reconstructions: tuple[Mlp, ...]
    residuals: tuple[Mlp, ...]


@dataclass(frozen=True)
class Recurrent:
    """The maps of the forward pass, an anchor or networks or both.

    anchor: float32 (code dimension, prepared dimension) or None. networks: or None.
    """

    code_format: CodeFormat
    anchor: NDArray[np.float32] | None
    networks: Networks | None

    def __post_init__(self) -> None:
        if self.anchor is None and self.networks is None:
            raise ConfigError("an encoder needs an anchor, networks, or both; got neither")

    def __call__(self, rows: Vectors) -> Levels:
        """Binarise unit rows, float32 (n, prepared dimension), into levels."""
        if self.networks is None:
            assert self.anchor is not None  # refused in __post_init__
            return quantise(rows @ self.anchor.T, self.code_format)
        base = None if self.anchor is None else rows @ self.anchor.T
        drive = self.networks.first(rows)
        if base is not None:
            drive += base
        planes = np.empty((self.code_format.bits, *drive.shape), bool)
        planes[0] = drive > 0
        code = _signs(planes[0])
        for loop in range(self.code_format.loops):
            back = unit(self.networks.reconstructions[loop](code))
            drive = self.networks.residuals[loop](rows - back)
            if base is not None:
                drive += base - code
            planes[loop + 1] = drive > 0
            code += np.float32(2.0 ** -(loop + 1)) * _signs(planes[loop + 1])
        return levels_from_planes(planes)


def _signs(plane: NDArray[np.bool_]) -> Vectors:
    return np.where(plane, np.float32(1), np.float32(-1))
