"""Reference: anchors that stand for classes in one space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from hotfill.errors import InputError, ShapeError
from hotfill.lab.losses.pairs import Pairs, Side

NO_ANCHOR = -1
"""Stands where a label has no anchor: a class that the old model never had."""


@dataclass(frozen=True, eq=False)
class Reference:
    """m anchors in one space, and which of them answers for each label.

    Old and new classes are never assumed to be numbered alike: `rows` is the explicit map.

    vectors: (m, dimension) float, of any length; with gradient only for a head being trained.
    valid: (m,) bool; an invalid anchor is never asked and never an alternative.
    rows: (labels,) int64, the anchor of each new label, or -1 for none.
    space: "old" or "new", the space the anchors live in.
    bias: (m,) float, of a linear head that has one.
    radius: (m,) float, how far (Euclidean) unit embeddings of the class lie from the anchor.
    min_cosine: (m,) float, the smallest cosine of an embedding of the class with its anchor.
    count: (m,) int64, how many embeddings stand behind each anchor.
    Raises ShapeError when the parts do not fit together.
    """

    vectors: Tensor
    valid: Tensor
    rows: Tensor
    space: Side
    bias: Tensor | None = None
    radius: Tensor | None = None
    min_cosine: Tensor | None = None
    count: Tensor | None = None

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2:
            raise ShapeError(f"anchors: expected (m, dimension), got {tuple(self.vectors.shape)}")
        for name in ("valid", "bias", "radius", "min_cosine", "count"):
            part = getattr(self, name)
            if part is not None and part.shape != (len(self.vectors),):
                raise ShapeError(
                    f"anchors: expected {name} of shape ({len(self.vectors)},), "
                    f"got {tuple(part.shape)}"
                )
        if self.rows.ndim != 1 or self.rows.dtype != torch.int64:
            raise ShapeError(
                f"anchors: expected rows as int64 (labels,), got {self.rows.dtype} "
                f"{tuple(self.rows.shape)}"
            )
        if self.rows.numel() and int(self.rows.max()) >= len(self.vectors):
            raise ShapeError(
                f"anchors: a label points to row {int(self.rows.max())}, "
                f"but there are only {len(self.vectors)} anchors"
            )

    @property
    def dimension(self) -> int:
        """Length of an anchor."""
        return self.vectors.shape[1]

    @property
    def labels(self) -> int:
        """How many labels are known, with or without an anchor."""
        return len(self.rows)

    def answering(self, pairs: Pairs) -> Tensor:
        """The anchor of each item: (n,) int64, -1 where it has no label or no valid anchor.

        Raises InputError, naming the items, for a label that is not below `labels`.
        """
        label = pairs.label
        if label is None:
            return torch.full((len(pairs),), NO_ANCHOR, device=pairs.new.device)
        outside = label >= self.labels
        if bool(outside.any()):
            wrong = outside.nonzero().flatten().tolist()
            shown = ", ".join(f"{pairs.name(row)} (label {int(label[row])})" for row in wrong[:5])
            raise InputError(
                f"labels: expected 0 to {self.labels - 1} or -1, but {len(wrong)} items are "
                f"outside the head: {shown}; build the head for all classes of the training set"
            )
        row = torch.where(label >= 0, self.rows[label.clamp(min=0)], NO_ANCHOR)
        return torch.where((row >= 0) & self.valid[row.clamp(min=0)], row, NO_ANCHOR)

    def detached(self) -> Reference:
        """The same anchors, through which no gradient flows."""
        return replace(self, vectors=self.vectors.detach())

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> Reference:
        """Apply `change` to every tensor, for example to move it to a device."""
        parts: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
        return Reference(**parts | {name: change(part) for name, part in tensors.items()})


@dataclass(frozen=True, eq=False)
class References:
    """The anchors of both spaces; either may be absent."""

    old: Reference | None = None
    new: Reference | None = None

    def of(self, side: Side) -> Reference:
        """The anchors of one space. Raises InputError when there are none."""
        found = self.old if side == "old" else self.new
        if found is None:
            raise InputError(
                f"this loss needs anchors in the {side} space, but the recipe has none"
            )
        return found
