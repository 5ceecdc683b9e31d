"""One architecture as a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from hotfill.lab.architecture_search.layers import BlockLayers, Layer, network_layers
from hotfill.lab.architecture_search.space import Architecture, Space


@final
class Network(nn.Module):
    """A query model: pictures in, embeddings out.

    space, architecture: what it is. Raises ConfigError when they do not fit together.
    """

    def __init__(self, space: Space, architecture: Architecture) -> None:
        super().__init__()
        layers = network_layers(space, architecture)
        self.space, self.architecture = space, architecture
        self.stem = convolution(layers.stem)
        self.blocks = nn.Sequential(*(ShuffleBlock(block) for block in layers.blocks))
        self.last = convolution(layers.last)
        self.linear = nn.Linear(*layers.linear, bias=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Embed (n, channels, side, side) float pictures: (n, dimension), of any length."""
        found = self.last(self.blocks(self.stem(channels_last(images))))
        embeddings: Tensor = self.linear(found.mean(dim=(2, 3)))
        return embeddings


@final
class ShuffleBlock(nn.Module):
    """Half of the channels through `main`, half through `projection` or left alone."""

    def __init__(self, layers: BlockLayers) -> None:
        super().__init__()
        self.main = nn.Sequential(*(convolution(layer) for layer in layers.main))
        self.projection = nn.Sequential(*(convolution(layer) for layer in layers.projection))

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, inputs, height, width); height and width are halved by a projection."""
        beside, through = split(images, keep_size=len(self.projection) == 0)
        return torch.cat((self.projection(beside), self.main(through)), dim=1)


def split(images: Tensor, *, keep_size: bool) -> tuple[Tensor, Tensor]:
    """What goes around the main branch, and through it.

    Even and odd channels: that is the shuffle, since the branches come out one after the other.
    """
    return (images[:, 0::2], channels_last(images[:, 1::2])) if keep_size else (images, images)


def channels_last(images: Tensor) -> Tensor:
    """The same (n, channels, height, width) with the channels of a pixel side by side.

    On a CPU a depthwise convolution trains two to five times as fast that way.
    """
    return images.contiguous(memory_format=torch.channels_last)


def convolution(layer: Layer) -> nn.Sequential:
    """Build one layer."""
    parts: list[nn.Module] = [
        nn.Conv2d(
            layer.inputs,
            layer.outputs,
            layer.kernel,
            layer.stride,
            padding=layer.kernel // 2,
            groups=layer.inputs if layer.depthwise else 1,
            bias=False,
        ),
        nn.BatchNorm2d(layer.outputs),
    ]
    return nn.Sequential(*parts, *([nn.ReLU()] if layer.relu else []))


def convolutions(layers: nn.Module) -> Sequence[nn.Conv2d]:
    """The convolutions in a module, in order."""
    return [module for module in layers.modules() if isinstance(module, nn.Conv2d)]
