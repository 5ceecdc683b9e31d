"""CIFAR-100 from lossless mosaics, and FCT's split of its classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

CLASSES = 100


@dataclass(frozen=True, eq=False)
class Images:
    """images: uint8 (n, 3, 32, 32). labels: int64 (n,)."""

    images: np.ndarray
    labels: np.ndarray

    def of(self, classes: np.ndarray) -> Images:
        rows = np.flatnonzero(np.isin(self.labels, classes))
        return Images(self.images[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Data:
    """train: for models and maps. test: both queries and gallery."""

    train: Images
    test: Images


def load(folder: Path) -> Data:
    """Read `train_0.webp` to `train_2.webp` (100 pictures a class each) and `test.webp`.

    Tile row = class, tile column = picture.
    """
    parts = [_mosaic(folder / f"train_{shard}.webp") for shard in range(3)]
    train = Images(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )
    return Data(train, _mosaic(folder / "test.webp"))


def first_half(classes: int = CLASSES) -> np.ndarray:
    """FCT's old classes: the first half of the labels sorted as strings, so 0, 1, 10, 11 ..."""
    return np.array(sorted(int(name) for name in sorted(map(str, range(classes)))[: classes // 2]))


def _mosaic(path: Path) -> Images:
    from PIL import Image

    pixels = np.asarray(Image.open(path).convert("RGB"))
    tiles = pixels.reshape(CLASSES, 32, -1, 32, 3).transpose(0, 2, 4, 1, 3)
    labels = np.repeat(np.arange(CLASSES), tiles.shape[1])
    return Images(np.ascontiguousarray(tiles.reshape(-1, 3, 32, 32)), labels)
