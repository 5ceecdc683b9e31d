"""Small paired vectors of labelled items; one thread."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hotfill.types import ModelId

OLD = ModelId("old", "1", 6)
NEW = ModelId("new", "1", 8)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def labels() -> np.ndarray:
    return np.arange(120) % 6


@pytest.fixture
def pairs(labels) -> tuple[np.ndarray, np.ndarray]:
    """Old vectors say half of what new ones say; rows of unit length."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(6, 8))
    new = means[labels] + 0.4 * rng.normal(size=(120, 8))
    old = np.tanh(new @ rng.normal(size=(8, 6))) + 0.3 * rng.normal(size=(120, 6))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (old, new)]
    return unit[0].astype(np.float32), unit[1].astype(np.float32)
