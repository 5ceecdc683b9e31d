"""A small network parallel to a straight connection: the forward map of BiCT and DMU."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from hotfill.lab.losses.maps.base import Map
from hotfill.lab.losses.maps.resize import resize


@final
class Residual(Map):
    """v -> v + W2 relu(W1 v + b1) + b2, where the first v is cut or padded to the target.

    The last layer starts at zero, so training starts from "change nothing". Between compatible
    spaces that is already a good map. hidden: width of the inner layer.
    """

    def __init__(self, source: int, target: int, *, hidden: int = 256) -> None:
        super().__init__()
        self.source, self.target = source, target
        self.straight = resize(source, target)
        self.inner = nn.Linear(source, hidden)
        self.outer = nn.Linear(hidden, target)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (n, source) to (n, target)."""
        straight: Tensor = self.straight(vectors)
        correction: Tensor = self.outer(self.inner(vectors).relu())
        return straight + correction
