"""Anchors from the old model's own classifier."""

from __future__ import annotations

import torch
from torch import Tensor

from hotfill.lab.losses.reference import Reference


def from_head(weight: Tensor, *, rows: Tensor, bias: Tensor | None = None) -> Reference:
    """The frozen rows of an old head, as in BCT (Shen et al., CVPR 2020; read in code).

    weight: (old classes, old dimension), the scale it was trained with is kept.
    rows: (new classes,) int64, the old class of each new class, or -1 where the old model has
        none. Explicit, because the two numberings need not agree; rows of old classes that no new
        class maps to stay as wrong alternatives.
    bias: (old classes,), used by the `Dot` score only.
    """
    return Reference(
        weight.detach().clone(),
        torch.ones(len(weight), dtype=torch.bool, device=weight.device),
        rows,
        space="old",
        bias=None if bias is None else bias.detach().clone(),
    )
