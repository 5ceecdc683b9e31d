"""Small random batches in float64, so that oracles agree to ten digits."""

from __future__ import annotations

import pytest
import torch

from hotfill.lab.losses import PairedBatch, Reference, ReferencePair

NEW, OLD, ITEMS, CLASSES = 5, 5, 12, 4


@pytest.fixture(autouse=True)
def _repeatable():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def pairs() -> PairedBatch:
    new = torch.randn(ITEMS, NEW, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, -1])
    return PairedBatch(new, torch.randn(ITEMS, OLD, dtype=torch.float64), label)


@pytest.fixture
def anchors() -> Reference:
    """Six old anchors in another order than the labels; label 2 has none, row 5 is not valid."""
    return Reference(
        torch.randn(6, OLD, dtype=torch.float64) * 0.7,
        torch.tensor([True, True, True, True, True, False]),
        torch.tensor([3, 1, -1, 4]),
        space="old",
        radius=torch.tensor([0.9, 0.6, 1.2, 1.5, 0.8, 0.5], dtype=torch.float64),
        min_cosine=torch.tensor([0.1, 0.3, 0.2, 0.4, -0.1, 0.0], dtype=torch.float64),
        count=torch.tensor([3, 3, 3, 3, 3, 0]),
    )


@pytest.fixture
def references(anchors: Reference) -> ReferencePair:
    head = torch.randn(CLASSES, NEW, dtype=torch.float64, requires_grad=True)
    rows = torch.arange(CLASSES)
    return ReferencePair(
        anchors, Reference(head, torch.ones(CLASSES, dtype=torch.bool), rows, space="new")
    )


@pytest.fixture
def rows() -> list[int]:
    """The old anchor of each item of `pairs`."""
    return [3, 3, 3, 1, 1, 1, -1, -1, 4, 4, 4, -1]
