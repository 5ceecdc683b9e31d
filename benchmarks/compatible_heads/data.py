"""Frozen features of three pre-trained models for the pictures of CIFAR-100."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILES = {"old": "v1_025_128", "new": "v1_050_160", "larger": "v2_100_224"}
"""Which MobileNet stands for which model: width, and the side of its pictures."""


@dataclass(frozen=True, eq=False)
class Features:
    """One model's: (n, dimension) float32 each, rows as the task's labels."""

    train: NDArray[np.float32]
    queries: NDArray[np.float32]
    gallery: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Task:
    """models: features by role: "old", "new", "larger". The labels are (n,) int64 each."""

    models: Mapping[str, Features]
    train_labels: NDArray[np.int64]
    query_labels: NDArray[np.int64]
    gallery_labels: NDArray[np.int64]

    def unseen(self, seed: int, share: float = 0.2) -> Task:
        """Search a share of the classes, train on the others only."""
        classes = np.unique(self.train_labels)
        rng = np.random.default_rng([seed, 20])
        held = rng.permutation(classes)[: round(share * len(classes))]
        train = ~np.isin(self.train_labels, held)
        queries, gallery = np.isin(self.query_labels, held), np.isin(self.gallery_labels, held)
        return replace(
            self,
            models={
                role: Features(some.train[train], some.queries[queries], some.gallery[gallery])
                for role, some in self.models.items()
            },
            train_labels=self.train_labels[train],
            query_labels=self.query_labels[queries],
            gallery_labels=self.gallery_labels[gallery],
        )


def cifar100(folder: Path, *, items: int, queries: int, gallery: int) -> Task:
    """Read `features_*.npz`: `train_0`, `train_1`, `train_2`, `test`, 100 items a class each.

    items: for training, of each class, at most 300. queries, gallery: of the test set's 100, the
    first and the last ones.
    """
    models = {}
    for role, name in FILES.items():
        with np.load(folder / f"features_{name}.npz", allow_pickle=False) as arrays:
            train = [_by_class(arrays[f"train_{part}"]) for part in range(-(-items // 100))]
            test, scale = _by_class(arrays["test"]), arrays["scale"]
        parts = (np.concatenate(train, axis=1)[:, :items], test[:, :queries], test[:, -gallery:])
        models[role] = Features(*(_flat(part) * scale for part in parts))
    labels = (np.repeat(np.arange(100), count) for count in (items, queries, gallery))
    return Task(models, *labels)


def made_up(seed: int, *, classes: int, items: int, queries: int, gallery: int) -> Task:
    """Items of made-up classes, as three models of 256, 320 and 384 numbers see them."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, 1, 24))
    parts = [centres + rng.normal(size=(classes, n, 24)) for n in (items, queries, gallery)]
    models = {}
    for role, dimension in zip(FILES, (256, 320, 384), strict=True):
        seen_by = rng.normal(size=(24, dimension)) / 24**0.5
        models[role] = Features(*(_flat(np.tanh(part @ seen_by)).astype("f4") for part in parts))
    labels = (np.repeat(np.arange(classes), count) for count in (items, queries, gallery))
    return Task(models, *labels)


def _by_class(values: NDArray[np.uint8]) -> NDArray[np.float32]:
    return values.reshape(100, 100, -1).astype(np.float32)


def _flat(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.reshape(-1, values.shape[-1])
