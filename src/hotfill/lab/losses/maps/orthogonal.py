"""A rotation between spaces, in closed form or trained."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from hotfill.errors import ShapeError
from hotfill.lab.losses.maps.base import Map


@final
class Orthogonal(Map):
    """A linear map with orthonormal rows or columns, which it keeps while being trained.

    Between equal dimensions it is a rotation or reflection, so it leaves every cosine within a
    space as it is.
    """

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.source, self.target = source, target
        self.linear = nn.utils.parametrizations.orthogonal(nn.Linear(source, target, bias=False))

    @classmethod
    def fitted(cls, source: Tensor, target: Tensor) -> Orthogonal:
        """The best rotation in closed form (orthogonal Procrustes, no bias).

        source: (n, source dimension), target: (n, target dimension), paired rows; bring them to
        unit length first if only directions count. Raises ShapeError when the rows differ.
        """
        if source.ndim != 2 or target.ndim != 2 or len(source) != len(target):
            raise ShapeError(
                f"Procrustes needs paired rows, got {tuple(source.shape)} and {tuple(target.shape)}"
            )
        left, _, right = torch.linalg.svd(target.T.double() @ source.double(), full_matrices=False)
        fitted = cls(source.shape[1], target.shape[1])
        with torch.no_grad():
            fitted.linear.weight = (left @ right).to(fitted.linear.weight.dtype)
        return fitted

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (n, source) to (n, target)."""
        mapped: Tensor = self.linear(vectors)
        return mapped
