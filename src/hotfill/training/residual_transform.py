"""A trained forward map as an `up` transform: what BiCT and DMU give to the `prefill` strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

import numpy as np
import torch

from hotfill.errors import ShapeError
from hotfill.losses.maps import Residual
from hotfill.transforms.base import Facts, Transform

if TYPE_CHECKING:
    from hotfill.types import ModelId, Vectors


@final
class ResidualTransform(Transform):
    """x -> x straight + relu(x inner + inner_offset) outer + outer_offset; numpy only.

    arrays: straight (source, target), inner (source, hidden), inner_offset (hidden,),
    outer (hidden, target), outer_offset (target,).
    """

    kind: ClassVar[str] = "residual"

    def _check(self) -> None:
        source, target = self.source.dimension, self.target.dimension
        hidden = len(self._arrays["inner_offset"]) if "inner_offset" in self._arrays else 0
        expected = {
            "inner": (source, hidden),
            "inner_offset": (hidden,),
            "outer": (hidden, target),
            "outer_offset": (target,),
            "straight": (source, target),
        }
        got = {name: array.shape for name, array in self._arrays.items()}
        if got != expected:
            raise ShapeError(f"a residual map between these spaces has {expected}, got {got}")

    def _map(self, rows: Vectors) -> Vectors:
        arrays = self._arrays
        inner = np.maximum(rows @ arrays["inner"] + arrays["inner_offset"], 0)
        mapped = rows @ arrays["straight"] + inner @ arrays["outer"] + arrays["outer_offset"]
        return np.asarray(mapped, dtype=np.float32)


def residual_transform(
    map_: Residual, source: ModelId, target: ModelId, facts: Facts | None = None
) -> ResidualTransform:
    """Take a trained map out of torch.

    map_: `recipe.maps["up"]` after training. source, target: the old and the new space. The map was
    trained on unit vectors if the old vectors given to the training were of unit length; give it
    the same here (a space that compares by the cosine does so by itself).
    Raises ShapeError when the spaces have other dimensions.
    """
    with torch.inference_mode():
        whole = torch.eye(map_.source)
        arrays = {
            "straight": map_.straight(whole),
            "inner": map_.inner.weight.T,
            "inner_offset": map_.inner.bias,
            "outer": map_.outer.weight.T,
            "outer_offset": map_.outer.bias,
        }
        plain = {name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()}
    return ResidualTransform(source, target, plain, facts)
