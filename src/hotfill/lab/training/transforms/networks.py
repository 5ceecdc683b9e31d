"""The trained networks, and how they become arrays for numpy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor, nn

from hotfill.lab.losses.maps import SpaceMap

if TYPE_CHECKING:
    import numpy as np


def blocks(widths: Sequence[int], *, last_plain: bool = True) -> nn.Sequential:
    """Stack blocks of linear layer, batch normalisation and ReLU.

    widths: what the first layer takes, then what each gives. last_plain: whether the last block is
    a linear layer only, with its bias; layers before a normalisation need none.
    """
    layers: list[nn.Module] = []
    for place, (taken, given) in enumerate(pairwise(widths)):
        if last_plain and place == len(widths) - 2:
            layers.append(nn.Linear(taken, given))
        else:
            layers += [nn.Linear(taken, given, bias=False), nn.BatchNorm1d(given), nn.ReLU()]
    return nn.Sequential(*layers)


@final
class BlockNetwork(SpaceMap):
    """The network of psi and rho: blocks of one hidden width, the last one linear.

    depth: number of blocks, >= 1. hidden: None for 4 max(source, target).
    """

    def __init__(
        self, source: int, target: int, *, depth: int = 3, hidden: int | None = None
    ) -> None:
        super().__init__()
        inner = [hidden or 4 * max(source, target)] * (depth - 1)
        self.layers = blocks([source, *inner, target])

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (n, source) to (n, target)."""
        mapped: Tensor = self.layers(vectors)
        return mapped


@final
class ForwardNetwork(SpaceMap):
    """FCT's h; with `sigma`, FastFill's. Shapes: see `hotfill.ranking.networks`.

    old, side, new: dimensions; side None feeds the old vector to both branches.
    """

    def __init__(
        self,
        old: int,
        new: int,
        *,
        side: int | None = None,
        hidden: int = 2048,
        sigma: bool = False,
    ) -> None:
        super().__init__()
        second = old if side is None else side
        self.width, self.alone = old, side is None
        self.old = blocks([old, 2 * old, 2 * new], last_plain=False)
        self.side = blocks([second, 2 * second, 2 * new], last_plain=False)
        self.mixer = blocks([4 * new, hidden, hidden, new])
        self.sigma = nn.Sequential(nn.Linear(new, 1)) if sigma else None

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (n, old [+ side]) to (n, new)."""
        side = vectors if self.alone else vectors[:, self.width :]
        both = [self.old(vectors[:, : self.width]), self.side(side)]
        mapped: Tensor = self.mixer(torch.cat(both, dim=1))
        return mapped

    def log_variance(self, mapped: Tensor) -> Tensor:
        """Read the sigma head on outputs of `forward`: (n,)."""
        assert self.sigma is not None
        head: Tensor = self.sigma(mapped)
        return head[:, 0]


@final
class DriftNetwork(SpaceMap):
    """Drift-Adapter's residual MLP with a diagonal scale; see `hotfill.ranking.networks`.

    The straight part is the identity between equal dimensions, where it stays as it is, and trained
    between others.
    """

    def __init__(self, source: int, target: int, *, hidden: int = 256) -> None:
        super().__init__()
        self.straight = nn.Linear(source, target, bias=False)
        if source == target:
            nn.init.eye_(self.straight.weight)
            self.straight.weight.requires_grad_(False)
        self.inner = nn.Linear(source, hidden)
        self.outer = nn.Linear(hidden, target)
        self.scale = nn.Parameter(torch.ones(target))

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (n, source) to (n, target)."""
        bent: Tensor = self.outer(nn.functional.gelu(self.inner(vectors)))
        mapped: Tensor = (self.straight(vectors) + bent) * self.scale
        return mapped


def folded(stack: nn.Sequential, name: str) -> dict[str, np.ndarray]:
    """Export a trained stack as arrays for numpy, batch normalisation folded into the layers.

    BN(x W) = x (W s) + (b - mean s),   s = weight / sqrt(variance + eps);   in float64.
    """
    arrays: dict[str, np.ndarray] = {}
    layer = -1
    with torch.no_grad():
        for module in stack:
            if isinstance(module, nn.Linear):
                layer += 1
                matrix = module.weight.T.double()
                offset = torch.zeros(module.out_features, dtype=torch.float64)
                if module.bias is not None:
                    offset = module.bias.double()
            elif isinstance(module, nn.BatchNorm1d):
                assert module.running_mean is not None
                assert module.running_var is not None
                scale = module.weight.double() / (module.running_var.double() + module.eps).sqrt()
                matrix = matrix * scale
                offset = module.bias.double() - module.running_mean.double() * scale
            else:
                continue
            arrays[f"{name}.matrix_{layer}"] = matrix.cpu().numpy()
            arrays[f"{name}.offset_{layer}"] = offset.cpu().numpy()
    return arrays
