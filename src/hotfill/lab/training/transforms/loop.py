"""The training loop that all maps share: Adam, warm-up and cosine, frozen statistics at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hotfill.lab.training.diverged import DivergedError
from hotfill.lab.training.transforms.settings import MapSettings

Batches: TypeAlias = Callable[[int], list[NDArray[np.int64]]]
"""The batches of one epoch, as rows, from a seed of its own."""

LossOf: TypeAlias = Callable[[NDArray[np.int64]], Tensor]
"""The loss of a batch."""

Progress: TypeAlias = Callable[[int, int, float], None]
"""Called after each epoch: epochs done, epochs in all, mean loss of the epoch."""


@contextmanager
def seeded(settings: MapSettings) -> Iterator[None]:
    """Draw torch's random numbers from the seed; the caller's own stay as they were."""
    cuda = [torch.device(settings.device)] if settings.device.startswith("cuda") else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(settings.seed)
        yield


def train(
    network: nn.Module,
    batches: Batches,
    loss_of: LossOf,
    settings: MapSettings,
    progress: Progress | None = None,
) -> float:
    """Train in place and return the mean loss of the last epoch; the network is left in eval mode.

    Call it within `seeded`. From the middle epoch on batch normalisation uses the statistics it has
    gathered, as FCT does, so that the last epochs train what will be applied.
    Raises DivergedError when a loss is not finite.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    step, mean = 0, 0.0
    seeds = np.random.default_rng(settings.seed).integers(2**31, size=settings.epochs)
    for epoch in range(settings.epochs):
        network.train(epoch < settings.epochs / 2)
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate_of(epoch)
        losses = []
        for rows in batches(int(seeds[epoch])):
            optimiser.zero_grad(set_to_none=True)
            loss = loss_of(rows)
            if not torch.isfinite(loss):
                raise DivergedError([type(network).__name__], step, None)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(float(loss.detach()))
            step += 1
        mean = float(np.mean(losses))
        if progress is not None:
            progress(epoch + 1, settings.epochs, mean)
    network.eval()
    return mean
