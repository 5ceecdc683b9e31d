"""Maps between the old and the new space, used while training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from hotfill.errors import ConfigError, ShapeError


class SpaceMap(nn.Module, ABC):
    """A function of rows of one space that gives rows of another.

    In training it lets spaces of different dimension meet (new to old, "down"), or it is what is
    being trained (old to new, "up"): then the same object upgrades the gallery afterwards.
    """

    @abstractmethod
    def forward(self, vectors: Tensor) -> Tensor:
        """Map (n, dimension) to (n, other dimension); lengths are not normalised."""


@final
class SameSpace(SpaceMap):
    """Returns what it gets."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (n, dimension) to itself."""
        return vectors


# Maps that only drop or append coordinates, as BCT does between spaces of different dimension.


@final
class Slice(SpaceMap):
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
class Pad(SpaceMap):
    """Appends zeros, target >= source. Raises ConfigError."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        if not 1 <= source <= target:
            raise ConfigError(f"Pad grows from {source} coordinates, got {target}; use Slice")
        self.source, self.target = source, target

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (n, source) to (n, target)."""
        return pad(vectors, (0, self.target - self.source))


def resize(source: int, target: int) -> SpaceMap:
    """Slice or Pad, whichever fits."""
    return Slice(source, target) if target <= source else Pad(source, target)


@final
class Orthogonal(SpaceMap):
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


# A small network parallel to a straight connection: the forward map of BiCT and DMU.


@final
class ResidualBranch(SpaceMap):
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
