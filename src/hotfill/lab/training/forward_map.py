"""The forward map of BiCT and DMU as an `up` transform, for the `prefill` strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hotfill.ranking import ResidualMap

if TYPE_CHECKING:
    from hotfill.lab.losses import maps
    from hotfill.ranking.transform import Facts
    from hotfill.types import ModelId


def forward_map(
    map_: maps.Residual, source: ModelId, target: ModelId, facts: Facts | None = None
) -> ResidualMap:
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
    return ResidualMap(source, target, plain, facts)
