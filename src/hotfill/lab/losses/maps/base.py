"""Map: carries embeddings from one space to another while training."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Map(nn.Module, ABC):
    """A function of rows of one space that gives rows of another.

    In training it lets spaces of different dimension meet (new to old, "down"), or it is what is
    being trained (old to new, "up"): then the same object upgrades the gallery afterwards.
    """

    @abstractmethod
    def forward(self, vectors: Tensor) -> Tensor:
        """Map (n, dimension) to (n, other dimension); lengths are not normalised."""
