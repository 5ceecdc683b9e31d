"""Backbones by name: small networks for pictures of 28 to 64 pixels, ResNet-18, timm."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from hotfill.errors import ConfigError
from hotfill.extras import need


@final
class SmallCnn(nn.Module):
    """Three convolutions, then one linear layer. Trains on a CPU at thousands of pictures a second.

    channels: of the pictures. dimension: of the embeddings. widths: channels of the convolutions.
    """

    def __init__(
        self, channels: int, dimension: int, *, widths: tuple[int, int, int] = (12, 24, 32)
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.layers = nn.Sequential(
            *_convolution(channels, first, kernel=5, stride=2),
            *_convolution(first, second),
            nn.MaxPool2d(2),
            *_convolution(second, third),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Linear(third * 9, dimension),
        )
        # A third faster on a CPU, and what GPUs want for bfloat16.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Embed (n, channels, height, width) float pictures: (n, dimension), of any length."""
        embeddings: Tensor = self.layers(images.contiguous(memory_format=torch.channels_last))
        return embeddings


def _convolution(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1
) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


# ResNet-18 for small pictures (He et al., 2016, with the first layer that CIFAR needs).


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


TIMM = "timm:"


def build_backbone(name: str, *, channels: int, dimension: int) -> nn.Module:
    """Make a network with random weights from pictures to embeddings.

    name: "small" or "medium" (a `SmallCnn`), "resnet18" (a `ResidualCnn`), or "timm:NAME" for any
        model of timm, whose classifier then gives the embedding.
    channels: of the pictures. dimension: of the embeddings.
    Raises ConfigError for another name, MissingExtraError without timm.
    """
    if name.startswith(TIMM):
        timm = need("timm", "timm")
        model: nn.Module = timm.create_model(
            name.removeprefix(TIMM), in_chans=channels, num_classes=dimension
        )
        return model
    if name == "small":
        return SmallCnn(channels, dimension)
    if name == "medium":
        return SmallCnn(channels, dimension, widths=(24, 48, 96))
    if name == "resnet18":
        return ResidualCnn(channels, dimension)
    raise ConfigError(
        f"backbone: expected 'small', 'medium', 'resnet18' or '{TIMM}NAME', got {name!r}"
    )
