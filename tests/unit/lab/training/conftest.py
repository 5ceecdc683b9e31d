"""Tiny pictures of five kinds, and a tiny network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hotfill.lab.losses import Cosine, Head
from hotfill.lab.training import ArrayItems, OldVectors, TrainingSettings

CLASSES, DIMENSION = 5, 6


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def items() -> ArrayItems:
    """60 pictures of 8 x 8 pixels: one bright row per class, with noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % CLASSES
    pictures = rng.integers(0, 80, (60, 8, 8), dtype=np.uint8)
    pictures[np.arange(60), labels] = 255
    return ArrayItems(pictures, labels, [f"item-{row}" for row in range(60)])


@pytest.fixture
def old_vectors(items: ArrayItems) -> OldVectors:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(CLASSES, DIMENSION))
    vectors = centres[items.labels] + 0.3 * rng.normal(size=(60, DIMENSION))
    return OldVectors(items.item_ids, vectors.astype(np.float32))


@pytest.fixture
def settings() -> TrainingSettings:
    return TrainingSettings(epochs=4, batch=16, seed=7)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, DIMENSION)
    )


@pytest.fixture
def head() -> Head:
    torch.manual_seed(2)
    return Head.random(CLASSES, DIMENSION, Cosine(10.0, 0.1))
