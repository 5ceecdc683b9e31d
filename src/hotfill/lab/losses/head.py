"""Head: the new model's classes as anchors, and how an embedding and anchors become logits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from hotfill.errors import ConfigError, ShapeError
from hotfill.lab.losses.references import Reference

_ACOS_EDGE = 1e-7  # acos has an infinite slope at 1


@dataclass(frozen=True)
class Cosine:
    """Scaled cosines; the right class must win by a margin.

    scale: > 0. Has no default: without a scale the softmax over cosines is almost flat, the most
        common reason for weak baselines (30 or 64 with thousands of classes).
    margin: >= 0, taken from the cosine (CosFace) or added to the angle, in radians (ArcFace).
    kind: "cosine" (CosFace, https://arxiv.org/abs/1801.09414) or "angle" (ArcFace,
        https://arxiv.org/abs/1801.07698).
    Raises ConfigError.
    """

    scale: float
    margin: float = 0.0
    kind: Literal["cosine", "angle"] = "cosine"

    def __post_init__(self) -> None:
        if not self.scale > 0 or not 0 <= self.margin < math.pi:
            raise ConfigError(
                f"a cosine score needs scale > 0 and 0 <= margin < pi; got scale {self.scale}, "
                f"margin {self.margin}"
            )


@dataclass(frozen=True)
class Dot:
    """Plain inner products plus the head's bias, if it has one: a linear classifier as trained."""


Score: TypeAlias = Cosine | Dot


def logits(score: Score, vectors: Tensor, reference: Reference, row: Tensor) -> Tensor:
    """Logits of vectors (n, dimension) against all m anchors: (n, m), -inf at invalid anchors.

    row: (n,) int64, the right anchor of each vector (the margin applies to it).
    Raises ShapeError when the dimensions differ.
    """
    if vectors.shape[1] != reference.dimension:
        raise ShapeError(
            f"anchors in the {reference.space} space have dimension {reference.dimension}, the "
            f"embeddings have {vectors.shape[1]}: give the recipe a map (Slice, Pad, Orthogonal, "
            "Residual) between the spaces"
        )
    if isinstance(score, Dot):
        found = linear(vectors, reference.vectors, reference.bias)
    else:
        cosines = normalize(vectors) @ normalize(reference.vectors).T
        right = row.unsqueeze(1)
        target = cosines.gather(1, right)
        found = cosines.scatter(1, right, _with_margin(target, score)) * score.scale
    return found.masked_fill(~reference.valid, -math.inf)


def _with_margin(cosine: Tensor, score: Cosine) -> Tensor:
    if score.margin == 0.0:
        return cosine
    if score.kind == "cosine":
        return cosine - score.margin
    angle = torch.acos(cosine.clamp(-1 + _ACOS_EDGE, 1 - _ACOS_EDGE))
    # Beyond pi - margin the cosine would rise again; ArcFace goes on in a straight line there.
    beyond = cosine - score.margin * math.sin(score.margin)
    return torch.where(angle <= math.pi - score.margin, torch.cos(angle + score.margin), beyond)


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
