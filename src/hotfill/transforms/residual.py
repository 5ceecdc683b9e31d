"""A straight map plus a small network: what BiCT and DMU train as their forward map.

    x -> x S + relu(x W_1 + o_1) W_2 + o_2

Source: our reading of the abstracts of BiCT and DMU; see `hotfill.losses.maps.Residual`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from hotfill.transforms.base import Transform

if TYPE_CHECKING:
    from hotfill.types import Vectors


@final
class Residual(Transform):
    """See the module.

    arrays: straight (source, target), inner (source, hidden), inner_offset (hidden,),
    outer (hidden, target), outer_offset (target,).
    """

    kind: ClassVar[str] = "residual"

    def _check(self) -> None:
        source, target = self.source.dimension, self.target.dimension
        hidden = len(self._arrays.get("inner_offset", ()))
        expected = {
            "inner": (source, hidden),
            "inner_offset": (hidden,),
            "outer": (hidden, target),
            "outer_offset": (target,),
            "straight": (source, target),
        }
        self._check_shapes("a residual map", expected)

    def _map(self, rows: Vectors) -> Vectors:
        arrays = self._arrays
        inner = np.maximum(rows @ arrays["inner"] + arrays["inner_offset"], 0)
        mapped = rows @ arrays["straight"] + inner @ arrays["outer"] + arrays["outer_offset"]
        return np.asarray(mapped, dtype=np.float32)
