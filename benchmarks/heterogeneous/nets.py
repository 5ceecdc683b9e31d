"""The networks that a search is compared with."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn


@final
class HandMade(nn.Module):
    """What an engineer would write: separable convolutions as in MobileNet, doubled when halved.

    channels: of the pictures. dimension: of the embeddings. width: of the first layer.
    """

    def __init__(self, channels: int, dimension: int, *, width: int) -> None:
        super().__init__()
        parts = [*_convolution(channels, width, 3, 2)]
        inputs = width
        for outputs, stride in ((2, 2), (2, 1), (4, 2), (4, 1), (8, 2), (8, 1)):
            parts += _convolution(inputs, inputs, 3, stride, groups=inputs)
            parts += _convolution(inputs, outputs * width, 1, 1)
            inputs = outputs * width
        self.layers = nn.Sequential(*parts)
        self.linear = nn.Linear(inputs, dimension, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.linear(self.layers(images).mean(dim=(2, 3)))
        return embeddings


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int, *, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
