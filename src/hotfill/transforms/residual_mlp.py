"""The residual MLP with a diagonal scale: Drift-Adapter's third map, for unequal dimensions too.

    x -> scale * ( x W + o + gelu(x W_1 + o_1) W_2 )

Source: Vejendla 2025 (section 5 of the method notes) [read in a third party's transcription], where
W is the identity; for unequal dimensions the identity becomes a linear map [as proposed there].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from hotfill.transforms.base import Transform

if TYPE_CHECKING:
    from hotfill.types import Vectors


@final
class ResidualMlp(Transform):
    """See the module; gelu is the exact one, y Phi(y).

    arrays: straight (source, target), offset and scale (target,), inner (source, hidden),
    inner_offset (hidden,), outer (hidden, target).
    """

    kind: ClassVar[str] = "residual_mlp"

    def _check(self) -> None:
        source, target = self.source.dimension, self.target.dimension
        hidden = len(self._arrays.get("inner_offset", ()))
        expected = {
            "inner": (source, hidden),
            "inner_offset": (hidden,),
            "offset": (target,),
            "outer": (hidden, target),
            "scale": (target,),
            "straight": (source, target),
        }
        self._check_shapes("a residual MLP", expected)

    def _map(self, rows: Vectors) -> Vectors:
        from scipy.special import ndtr

        arrays = self._arrays
        inner = rows @ arrays["inner"] + arrays["inner_offset"]
        bent = (inner * ndtr(inner)) @ arrays["outer"]
        mapped = (rows @ arrays["straight"] + arrays["offset"] + bent) * arrays["scale"]
        return np.asarray(mapped, dtype=np.float32)
