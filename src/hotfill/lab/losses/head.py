"""Head: the new model's classes, as anchors that are trained (or fixed beforehand)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from hotfill.lab.losses.reference import Reference
from hotfill.lab.losses.score import Score


@final
class Head(nn.Module):
    """One anchor per class of the new training set, in the new space.

    score: how embeddings and anchors become logits. trained: whether the anchors move.
    """

    vectors: Tensor

    def __init__(self, vectors: Tensor, score: Score, *, trained: bool = True) -> None:
        """Take vectors (classes, dimension) as the anchors."""
        super().__init__()
        self.score = score
        if trained:
            self.vectors = nn.Parameter(vectors.clone())
        else:
            self.register_buffer("vectors", vectors.clone())

    @classmethod
    def random(cls, classes: int, dimension: int, score: Score) -> Head:
        """Anchors of about unit length in random directions, to be trained."""
        return cls(torch.randn(classes, dimension) * dimension**-0.5, score)

    @property
    def classes(self) -> int:
        """How many classes it knows."""
        return len(self.vectors)

    def reference(self) -> Reference:
        """The anchors, with gradient when they are trained; label c is row c."""
        rows = torch.arange(len(self.vectors), device=self.vectors.device)
        return Reference(self.vectors, torch.ones_like(rows, dtype=torch.bool), rows, space="new")
