"""Pairs: one batch of items, seen by the new model and (looked up) by the old one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from hotfill.errors import InputError, ShapeError

UNLABELLED = -1
"""The label of an item whose class is not known."""

Side: TypeAlias = Literal["old", "new"]


@dataclass(frozen=True, eq=False)
class PairedBatch:
    """A batch of n items. Everything but `new` may be absent.

    new: (n, new dimension) float, with gradient, of any length.
    old: (n, old dimension) float, the old model's embeddings of the *same* items, of any length;
        a constant, so it may be read from a cache and the old model need not be loaded.
    label: (n,) int64, the class in the new training set, from 0; -1 where it is not known.
    item_ids: n names, used in messages.
    weight: (n,) float >= 0, how much each item counts; None = all alike.
    Raises ShapeError when the rows do not agree.
    """

    new: Tensor
    old: Tensor | None = None
    label: Tensor | None = None
    item_ids: Sequence[str] | None = None
    weight: Tensor | None = None

    def __post_init__(self) -> None:
        _check_matrix(self.new, "new embeddings")
        count = len(self.new)
        if self.old is not None:
            _check_matrix(self.old, "old embeddings")
            _check_rows(self.old, count, "old embeddings")
            object.__setattr__(self, "old", self.old.detach())
        if self.label is not None:
            if self.label.ndim != 1 or self.label.dtype != torch.int64:
                raise ShapeError(
                    f"labels: expected an int64 tensor of shape (n,), got {self.label.dtype} "
                    f"{tuple(self.label.shape)}"
                )
            _check_rows(self.label, count, "labels")
        if self.weight is not None:
            if self.weight.ndim != 1:
                raise ShapeError(f"weights: expected (n,), got {tuple(self.weight.shape)}")
            _check_rows(self.weight, count, "weights")
        if self.item_ids is not None and len(self.item_ids) != count:
            raise ShapeError(f"item ids: expected {count}, got {len(self.item_ids)}")

    def __len__(self) -> int:
        return len(self.new)

    def embeddings(self, side: Side) -> Tensor:
        """The embeddings of one side. Raises InputError when there are no old ones."""
        if side == "new":
            return self.new
        if self.old is None:
            raise InputError(
                "this loss compares with the old embeddings of the same items, but the batch has "
                "none: pass PairedBatch(new, old=...)"
            )
        return self.old

    def weighted(self, factor: Tensor) -> PairedBatch:
        """The same items, each counting `factor` (n,) times as much as before."""
        weight = factor if self.weight is None else self.weight * factor
        return replace(self, weight=weight)

    def name(self, row: int) -> str:
        """How to call an item in a message."""
        return self.item_ids[row] if self.item_ids is not None else f"row {row}"


def _check_matrix(tensor: Tensor, what: str) -> None:
    if tensor.ndim != 2 or not tensor.is_floating_point():
        raise ShapeError(
            f"{what}: expected a float tensor of shape (n, dimension), got {tensor.dtype} "
            f"{tuple(tensor.shape)}"
        )


def _check_rows(tensor: Tensor, count: int, what: str) -> None:
    if len(tensor) != count:
        raise ShapeError(f"{what}: expected one row per new embedding ({count}), got {len(tensor)}")


def opposites(pairs: PairedBatch) -> Tensor:
    """(n, n) bool: True where item j is known not to belong with item i.

    With labels: other classes. An item without a label belongs nowhere for certain, so it is
    nobody's opposite and has none. Without any labels: every other item.
    """
    count = len(pairs)
    if pairs.label is None:
        return ~torch.eye(count, dtype=torch.bool, device=pairs.new.device)
    known = pairs.label >= 0
    differ = pairs.label.unsqueeze(1) != pairs.label.unsqueeze(0)
    return differ & known.unsqueeze(1) & known.unsqueeze(0)


def companions(pairs: PairedBatch) -> Tensor:
    """(n, n) bool: True where item j has the class of item i, or is item i itself."""
    itself = torch.eye(len(pairs), dtype=torch.bool, device=pairs.new.device)
    if pairs.label is None:
        return itself
    known = pairs.label >= 0
    return itself | ((pairs.label.unsqueeze(1) == pairs.label.unsqueeze(0)) & known.unsqueeze(1))
