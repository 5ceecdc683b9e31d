"""Rows of one class after the other."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hotfill.errors import InputError, ShapeError


def groups(labels: Tensor, classes: int, rows: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (class, its row numbers in ascending order) for every class that occurs.

    labels: (rows,) int64; -1 = no class, left out.
    Raises ShapeError for another shape, InputError for a label that is not below `classes`.
    """
    if labels.shape != (rows,) or labels.dtype != torch.int64:
        raise ShapeError(
            f"labels: expected int64 ({rows},), one per vector, got {labels.dtype} "
            f"{tuple(labels.shape)}"
        )
    if labels.numel() and int(labels.max()) >= classes:
        raise InputError(
            f"labels: expected 0 to {classes - 1} or -1, got {int(labels.max())}; count all "
            "classes of the new training set"
        )
    order = torch.argsort(labels, stable=True)
    found, counts = torch.unique_consecutive(labels[order], return_counts=True)
    parts = torch.split(order, counts.tolist())
    for label, part in zip(found.tolist(), parts, strict=True):
        if label >= 0:
            yield label, part
