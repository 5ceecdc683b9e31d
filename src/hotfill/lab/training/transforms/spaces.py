"""Spaces in torch: vectors ready to be compared, and the distances that a merge compares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hotfill.errors import ConfigError
from hotfill.vectors import has_free_length

if TYPE_CHECKING:
    from hotfill.types import ModelId, Vectors


def on_device(vectors: Vectors, device: str) -> Tensor:
    """Bring checked vectors to where training happens. They never get a gradient."""
    return torch.from_numpy(vectors).to(device)


def as_compared(vectors: Tensor, model: ModelId) -> Tensor:
    """As `hotfill.vectors.as_compared`: of unit length unless length has a meaning."""
    return vectors if has_free_length(model) else normalize(vectors, dim=1)


def distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances (n, m) between rows (n, d) and (m, d)."""
    squares = (
        first.square().sum(dim=1)[:, None]
        + second.square().sum(dim=1)[None, :]
        - 2 * first @ second.T
    )
    # The root has no finite slope at 0. What is clamped gets none: items on top of each other.
    return squares.clamp_min(1e-12).sqrt()


def refuse_unequal_scales(old_model: ModelId, new_model: ModelId) -> None:
    """Raise ConfigError unless scores of both spaces are the same function of the distance.

    Distances can only be trained to be comparable where the stores compare by them in the same way
    on both sides: by the cosine (of unit length: 1 - distance^2 / 2), or by the distance itself.
    """
    ways = []
    for model in (old_model, new_model):
        if model.metric == "l2":
            ways.append("distance, free length" if has_free_length(model) else "distance")
        elif has_free_length(model):
            raise ConfigError(
                f"{model} is compared by inner products of vectors of any length, which are no "
                "function of a distance; use a space with the cosine or with metric l2"
            )
        else:
            ways.append("cosine")
    if ways[0] != ways[1]:
        raise ConfigError(
            f"the two sides are compared differently ({old_model}: {ways[0]}; {new_model}: "
            f"{ways[1]}), so equal distances would still give unequal scores; use one metric"
        )
