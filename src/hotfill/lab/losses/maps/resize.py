"""Maps that only drop or append coordinates, as BCT does between spaces of different dimension."""

from __future__ import annotations

from typing import final

from torch import Tensor
from torch.nn.functional import pad

from hotfill.errors import ConfigError
from hotfill.lab.losses.maps.base import Map


@final
class Slice(Map):
    """Keeps the first `target` of `source` coordinates, target <= source.

    Terms normalise after the map, so lengths are those of the part kept. Raises ConfigError.
    """

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        if not 1 <= target <= source:
            raise ConfigError(f"Slice keeps 1 to {source} coordinates, got {target}; use Pad")
        self.source, self.target = source, target

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (n, source) to (n, target)."""
        return vectors[:, : self.target]


@final
class Pad(Map):
    """Appends zeros, target >= source. Raises ConfigError."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        if not 1 <= source <= target:
            raise ConfigError(f"Pad grows from {source} coordinates, got {target}; use Slice")
        self.source, self.target = source, target

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (n, source) to (n, target)."""
        return pad(vectors, (0, self.target - self.source))


def resize(source: int, target: int) -> Map:
    """Slice or Pad, whichever fits."""
    return Slice(source, target) if target <= source else Pad(source, target)
