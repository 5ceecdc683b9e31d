"""What is trained on, and what is searched: the repository's Omniglot, CIFAR-100 from a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from demo.omniglot import drawings
from demo.omniglot.augment import distort


@dataclass(frozen=True, eq=False)
class Pictures:
    """images: (n, height, width[, 3]); labels: (n,) from 0; item_ids: n names."""

    images: NDArray[np.generic]
    labels: NDArray[np.int64]
    item_ids: list[str]

    def where(self, mask: NDArray[np.bool_]) -> Pictures:
        rows = np.flatnonzero(mask)
        return Pictures(self.images[rows], self.labels[rows], [self.item_ids[r] for r in rows])


@dataclass(frozen=True, eq=False)
class Task:
    """train: for models. queries, gallery: pictures that no model was trained on."""

    train: Pictures
    queries: Pictures
    gallery: Pictures
    augment: Callable[[Tensor, torch.Generator], Tensor]


def omniglot(*, classes: int, test_classes: int) -> Task:
    """Train on background characters, search characters of other alphabets (seen by nobody)."""
    background, evaluation = drawings.load("background"), drawings.load("evaluation")
    # Every other alphabet's characters alike: classes are spread over the whole split.
    train = _some_classes(background, classes)
    test = _some_classes(evaluation, test_classes)
    return Task(
        _pictures(train),
        _pictures(test.where((test.drawers > 10) & (test.drawers <= 15))),
        _pictures(test.gallery()),
        distort,
    )


def _some_classes(some: drawings.Drawings, classes: int) -> drawings.Drawings:
    every = np.unique(some.labels)
    kept = every[np.linspace(0, len(every) - 1, classes).round().astype(int)]
    return some.where(np.isin(some.labels, kept))


def _pictures(some: drawings.Drawings) -> Pictures:
    _, labels = np.unique(some.labels, return_inverse=True)
    return Pictures(some.images, labels.astype(np.int64), some.item_ids)


def cifar100(folder: Path, *, shards: int, classes: int = 100) -> Task:
    """Train on one to three shards of 100 pictures a class; search the test set's halves.

    folder: with `train_0.webp` and so on: lossless mosaics, tile row = class, column = item.
    """
    train = [_mosaic(folder / f"train_{shard}.webp", classes) for shard in range(shards)]
    test = _mosaic(folder / "test.webp", classes)
    place = np.tile(np.arange(100), classes)
    return Task(
        Pictures(
            np.concatenate([part.images for part in train]),
            np.concatenate([part.labels for part in train]),
            [name for part in train for name in part.item_ids],
        ),
        test.where(place < 20),
        test.where(place >= 50),
        flip_and_shift,
    )


def _mosaic(path: Path, classes: int) -> Pictures:
    from PIL import Image

    with Image.open(path) as image:
        whole = np.asarray(image.convert("RGB"))
    tiles = whole.reshape(100, 32, 100, 32, 3).transpose(0, 2, 1, 3, 4)[:classes]
    names = [f"{path.stem}/{label}/{item}" for label in range(classes) for item in range(100)]
    labels = np.repeat(np.arange(classes, dtype=np.int64), 100)
    return Pictures(tiles.reshape(-1, 32, 32, 3).copy(), labels, names)


def flip_and_shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the pictures, and shift each by up to 4 pixels."""
    count, side = len(images), images.shape[-1]
    mirrored = torch.rand(count, generator=generator) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4), mode="reflect")
    down, right = torch.randint(9, (2, count), generator=generator)
    rows = (down[:, None] + torch.arange(side))[:, None, :, None]
    columns = (right[:, None] + torch.arange(side))[:, None, None, :]
    batch = torch.arange(count)[:, None, None, None]
    channel = torch.arange(images.shape[1])[None, :, None, None]
    return padded[batch, channel, rows, columns]
