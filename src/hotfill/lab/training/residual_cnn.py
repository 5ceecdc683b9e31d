"""ResNet-18 for small pictures (He et al., 2016, with the first layer that CIFAR needs)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn


@final
class ResidualCnn(nn.Module):
    """Four stages of two blocks each; the first layer keeps the size of the picture.

    channels: of the pictures. dimension: of the embeddings. width: channels of the first stage,
    doubled from stage to stage; 64 makes ResNet-18.
    """

    def __init__(self, channels: int, dimension: int, *, width: int = 64) -> None:
        super().__init__()
        widths = [width, width * 2, width * 4, width * 8]
        blocks: list[nn.Module] = []
        inputs = width
        for stage, outputs in enumerate(widths):
            blocks += [_Block(inputs, outputs, 1 if stage == 0 else 2), _Block(outputs, outputs, 1)]
            inputs = outputs
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            *blocks,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(inputs, dimension),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # see SmallCnn

    def forward(self, images: Tensor) -> Tensor:
        """Embed (n, channels, height, width) float pictures: (n, dimension), of any length."""
        embeddings: Tensor = self.layers(images.contiguous(memory_format=torch.channels_last))
        return embeddings


@final
class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, images: Tensor) -> Tensor:
        added: Tensor = self.convolutions(images) + self.shortcut(images)
        return added.relu()
