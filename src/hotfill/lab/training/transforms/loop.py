"""The training loop of maps: its settings, batches, spaces on a device, and steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from hotfill.errors import ConfigError
from hotfill.extras import need
from hotfill.lab.training.fit import DivergedError
from hotfill.vectors import has_free_length

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from hotfill.types import ModelId, Vectors


@dataclass(frozen=True)
class MapSettings:
    """The numbers of one training; with the same ones it gives the same map on a CPU.

    epochs: passes over the pairs. In the second half batch normalisation is frozen, as in FCT.
    batch: pairs per step, >= 2.
    learning_rate: of Adam; reached after `warm_up_epochs`, then half a cosine down to 0.
    weight_decay: Adam's, on all parameters. seed: of the weights and the order of pairs.
    device: as torch names it.
    The defaults are those of section 2.6 of the method notes: partly from memory of the paper,
    partly project defaults. FCT's own are epochs=80 and the rest alike.
    Raises ConfigError.
    """

    epochs: int = 50
    batch: int = 1024
    learning_rate: float = 5e-4
    warm_up_epochs: int = 5
    weight_decay: float = 2.0**-15
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        wrong = [
            name
            for name, right in {
                "epochs >= 1": self.epochs >= 1,
                "batch >= 2": self.batch >= 2,
                "learning_rate > 0": 0 < self.learning_rate < math.inf,
                "warm_up_epochs >= 0": self.warm_up_epochs >= 0,
                "weight_decay >= 0": 0 <= self.weight_decay < math.inf,
                "seed >= 0": self.seed >= 0,
            }.items()
            if not right
        ]
        if wrong:
            raise ConfigError(f"training of a map: expected {', '.join(wrong)}; got {self}")

    def learning_rate_of(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0; constant within it."""
        warm_up = min(self.warm_up_epochs, self.epochs - 1)
        if epoch < warm_up:
            return self.learning_rate * (epoch + 1) / warm_up
        falling = (epoch - warm_up) / (self.epochs - warm_up)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * falling))


# How an epoch is cut into batches: functions of the seed alone.

Rows = NDArray[np.int64]


def shuffled(items: int, batch: int, seed: int) -> list[Rows]:
    """Every item once; a last short batch is left out unless it is the only one."""
    order = np.random.default_rng(seed).permutation(items)
    whole = max(1, items // batch)
    return [order[place * batch : (place + 1) * batch] for place in range(whole)]


def class_balanced(labels: Rows, batch: int, per_class: int, seed: int) -> list[Rows]:
    """Batches of `per_class` items of each of as many classes as fit; about one epoch of them.

    More items of each class where there are too few classes to fill the batch. The sampler is
    pytorch-metric-learning's; a class with fewer items than that gives some of them twice.
    """
    common: Any = need("pytorch_metric_learning.utils.common_functions", "train")
    samplers = need("pytorch_metric_learning.samplers", "train")
    classes = int(labels.max()) + 1
    wanted = min(batch, len(labels))
    each = max(per_class, -(-wanted // classes))
    size = max(1, wanted // each) * each
    before = common.NUMPY_RANDOM
    common.NUMPY_RANDOM = np.random.RandomState(seed % 2**32)  # the library's own way to seed it
    try:
        sampler = samplers.MPerClassSampler(
            labels, each, batch_size=size, length_before_new_iter=max(len(labels), size)
        )
        rows = np.fromiter(sampler, dtype=np.int64)
    finally:
        common.NUMPY_RANDOM = before
    return list(rows.reshape(-1, size))


def grouped(relation: csr_array, anchors: Rows, batch: int, group: int, seed: int) -> list[Rows]:
    """Batches of anchors, each with up to `group` - 1 of those it is related to; no item twice.

    An epoch is as many batches as hold all items once, so each anchor has its turn in some.
    Batches are of `batch` items or fewer, where partners are few or shared.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(anchors)
    partners_of_one = min(group - 1, relation.nnz // len(anchors))  # one, of most queries
    at_once = max(2, batch // (1 + max(1, partners_of_one)))
    found = []
    for start in range(0, max(1, len(order) // batch) * at_once, at_once):
        drawn = order[start : start + at_once]
        partners = _some_of_each(relation[drawn], group - 1, random)
        found.append(np.unique(np.concatenate([drawn, partners])).astype(np.int64))
    return found


def _some_of_each(relation: csr_array, most: int, random: np.random.Generator) -> Rows:
    """Draw at most this many of the columns of each row, without replacement."""
    counts = np.diff(relation.indptr)
    rows = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((random.random(len(rows)), rows))  # each row's columns, shuffled
    place = np.arange(len(rows)) - np.repeat(relation.indptr[:-1], counts)
    return np.asarray(relation.indices[order[place < most]])


# Spaces in torch: vectors ready to be compared, and the distances that a merge compares.


def on_device(vectors: Vectors, device: str) -> Tensor:
    """Bring checked vectors to where training happens. They never get a gradient."""
    return torch.from_numpy(vectors).to(device)


def compared(vectors: Tensor, model: ModelId) -> Tensor:
    """As `hotfill.ranking.transform.as_compared`: of unit length unless length has a meaning."""
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


# The training loop that all maps share: Adam, warm-up and cosine, frozen statistics at the end.

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
