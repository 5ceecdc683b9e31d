"""ResNet-50 as FCT trains it: a narrow last block whose non-negative output is the embedding.

He et al., 2016, with strides in the 3 x 3 convolutions; Ramanujan et al., CVPR 2022: the last block
gives 128 channels, its ReLU stays, pooling follows, and the classifier has no bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

EXPANSION = 4


@dataclass(frozen=True)
class Shape:
    """dimension: of the embedding. depths: blocks of each stage. width: of the first stage."""

    dimension: int = 128
    depths: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64


class Bottleneck(nn.Module):
    def __init__(self, taken: int, inner: int, given: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(taken, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, given, 1, bias=False),
            nn.BatchNorm2d(given),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or taken != given:
            self.shortcut = nn.Sequential(
                nn.Conv2d(taken, given, 1, stride, bias=False), nn.BatchNorm2d(given)
            )

    def forward(self, images: Tensor) -> Tensor:
        return (self.convolutions(images) + self.shortcut(images)).relu()


class ResNet(nn.Module):
    """Pictures (n, 3, s, s) to embeddings (n, dimension) and logits (n, classes)."""

    def __init__(self, classes: int, shape: Shape) -> None:
        super().__init__()
        first = shape.width
        layers: list[nn.Module] = [
            nn.Conv2d(3, first, 7, 2, padding=3, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        ]
        taken = first
        for stage, depth in enumerate(shape.depths):
            inner = first * 2**stage
            for block in range(depth):
                last = stage == len(shape.depths) - 1 and block == depth - 1
                given = shape.dimension if last else inner * EXPANSION
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(Bottleneck(taken, inner, given, stride))
                taken = given
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(shape.dimension, classes, bias=False)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        embeddings = self.layers(images)
        return embeddings, self.classifier(embeddings)
