"""Backbones by name."""

from __future__ import annotations

from torch import nn

from hotfill.errors import ConfigError
from hotfill.extras import need
from hotfill.lab.training.residual_cnn import ResidualCnn
from hotfill.lab.training.small_cnn import SmallCnn

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
