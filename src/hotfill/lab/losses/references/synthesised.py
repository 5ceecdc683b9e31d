"""Anchors for classes that the old model does not have."""

from __future__ import annotations

import torch
from torch import Tensor

from hotfill.errors import InputError, ShapeError
from hotfill.lab.losses.reference import NO_ANCHOR, Reference


def synthesised(known: Reference, means: Reference) -> Reference:
    """Known anchors where there are any, class means of old embeddings elsewhere.

    This is how the first author of BCT describes the paper's synthesised head (issue 1 of
    openBCT): only new classes are synthesised, and concatenated to the real head. Use it with a
    cosine score: a mean of unit vectors is shorter than a trained row, so inner products of the
    two kinds cannot be compared.
    known: the old head, or class means of the old model's own training set. Its anchors that
    answer for no label stay as wrong alternatives. means: `from_means` over the new items. Both
    over the same labels, in the same space. What both have (radius, min_cosine, count) is kept.
    Raises ShapeError, InputError.
    """
    if known.labels != means.labels or known.dimension != means.dimension:
        raise ShapeError(
            f"expected both over the same labels and dimension, got {known.labels} labels of "
            f"dimension {known.dimension} and {means.labels} of {means.dimension}"
        )
    if known.bias is not None:
        raise InputError(
            "a head with a bias cannot be extended by means, which have none; "
            "build it with from_head(..., bias=None)"
        )
    has_row = (known.rows >= 0) & known.valid[known.rows.clamp(min=0)]
    missing = ~has_row & (means.rows >= 0) & means.valid[means.rows.clamp(min=0)]
    added = means.rows[missing]
    rows = torch.where(has_row, known.rows, NO_ANCHOR)
    rows[missing] = torch.arange(
        len(known.vectors), len(known.vectors) + len(added), device=rows.device
    )

    def together(part: str) -> Tensor | None:
        one, other = getattr(known, part), getattr(means, part)
        return None if one is None or other is None else torch.cat([one, other[added].to(one)])

    return Reference(
        torch.cat([known.vectors, means.vectors[added].to(known.vectors)]),
        torch.cat([known.valid, torch.ones_like(added, dtype=torch.bool)]),
        rows,
        space=known.space,
        radius=together("radius"),
        min_cosine=together("min_cosine"),
        count=together("count"),
    )


def with_alternatives(anchors: Reference, others: Reference) -> Reference:
    """Add the anchors of others that answer for no label, as wrong alternatives.

    A softmax over class means of the new items sees only the new classes; where the old model knew
    others, their anchors say what else an embedding must stay away from.
    anchors, others: over the same labels, in the same space. Radii, cosines, counts and biases are
    left out. Raises ShapeError.
    """
    if anchors.labels != others.labels or anchors.dimension != others.dimension:
        raise ShapeError(
            f"expected both over the same labels and dimension, got {anchors.labels} labels of "
            f"dimension {anchors.dimension} and {others.labels} of {others.dimension}"
        )
    stranger = others.valid.clone()
    stranger[others.rows[others.rows >= 0]] = False
    added = others.vectors[stranger].to(anchors.vectors)
    return Reference(
        torch.cat([anchors.vectors, added]),
        torch.cat([anchors.valid, torch.ones(len(added), dtype=torch.bool).to(anchors.valid)]),
        anchors.rows,
        space=anchors.space,
    )
