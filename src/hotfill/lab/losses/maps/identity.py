"""The map between spaces of one dimension that changes nothing."""

from __future__ import annotations

from typing import final

from torch import Tensor

from hotfill.lab.losses.maps.base import Map


@final
class Identity(Map):
    """Returns what it gets."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (n, dimension) to itself."""
        return vectors
