"""The new model's classifier, which FastFill needs, and a way to make one where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hotfill.errors import InputError, ShapeError
from hotfill.lab.training.transforms.loop import seeded, train
from hotfill.lab.training.transforms.sampling import shuffled
from hotfill.lab.training.transforms.settings import MapSettings
from hotfill.lab.training.transforms.spaces import on_device
from hotfill.types import ModelId
from hotfill.vectors import as_compared, check_vectors


@final
@dataclass(frozen=True, eq=False)
class Classifier:
    """Logits = vectors weight^T + offset. weight: float32 (classes, d), offset: (classes,)."""

    weight: NDArray[np.float32]
    offset: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.offset.shape != (len(self.weight),):
            raise ShapeError(
                "a classifier has weights (classes, dimension) and an offset (classes,), got "
                f"{self.weight.shape} and {self.offset.shape}"
            )

    def check(self, labels: Any, items: int, model: ModelId) -> Tensor:
        """Return labels as int64 (items,). Raises ShapeError, InputError."""
        given = np.asarray(labels)
        if given.shape != (items,) or given.dtype.kind not in "iu":
            raise ShapeError(
                f"labels: expected integers ({items},), got {given.dtype} {given.shape}"
            )
        if self.weight.shape[1] != model.dimension:
            raise ShapeError(
                f"the classifier reads {self.weight.shape[1]} numbers, {model} gives "
                f"{model.dimension}"
            )
        if given.min() < 0 or given.max() >= len(self.weight):
            raise InputError(
                f"labels must be rows of the classifier, 0 .. {len(self.weight) - 1}; got "
                f"{given.min()} .. {given.max()}"
            )
        return torch.from_numpy(given.astype(np.int64))

    def on(self, device: str) -> Callable[[Tensor], Tensor]:
        """The frozen logits as a function of (n, d) tensors on a device."""
        weight = torch.from_numpy(self.weight.astype(np.float32)).to(device)
        offset = torch.from_numpy(self.offset.astype(np.float32)).to(device)
        return lambda vectors: nn.functional.linear(vectors, weight, offset)


def fit_classifier(
    new_vectors: Any, labels: Any, *, new_model: ModelId, settings: MapSettings | None = None
) -> Classifier:
    """Train a linear classifier on the frozen new vectors, for models that come without one.

    new_vectors: (n, d). labels: int (n,), from 0. [project extension]
    Raises ShapeError, VectorError, InputError, DivergedError.
    """
    vectors = check_vectors(new_vectors, new_model.dimension, what=f"vectors of {new_model.name}")
    given = np.asarray(labels)
    if given.shape != (len(vectors),) or given.dtype.kind not in "iu" or not len(given):
        raise ShapeError(f"labels: expected integers ({len(vectors)},), got {given.shape}")
    if given.min() < 0:
        raise InputError(f"labels must be 0 or above, got {given.min()}")
    settings = settings or MapSettings(learning_rate=1e-2, weight_decay=1e-5)
    rows_of = on_device(as_compared(vectors, new_model), settings.device)
    classes = torch.from_numpy(given.astype(np.int64)).to(settings.device)
    with seeded(settings):
        layer = nn.Linear(new_model.dimension, int(given.max()) + 1).to(settings.device)
        train(
            layer,
            lambda seed: shuffled(len(vectors), settings.batch, seed),
            lambda rows: nn.functional.cross_entropy(layer(rows_of[rows]), classes[rows]),
            settings,
        )
    return Classifier(layer.weight.detach().cpu().numpy(), layer.bias.detach().cpu().numpy())
