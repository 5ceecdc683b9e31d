"""Anchors for classes that the old head does not have."""

from __future__ import annotations

import torch

from hotfill.errors import InputError, ShapeError
from hotfill.lab.losses.reference import NO_ANCHOR, Reference


def synthesised(head: Reference, means: Reference) -> Reference:
    """Rows of the old head where there are any, class means of old embeddings elsewhere.

    This is how the first author of BCT describes the paper's synthesised head (issue 1 of
    openBCT): only new classes are synthesised, and concatenated to the real head. Use it with a
    cosine score: a mean of unit vectors is shorter than a trained row, so inner products of the
    two kinds cannot be compared. Radii and the like are not carried over.
    head, means: over the same labels, in the same space. Raises ShapeError, InputError.
    """
    if head.labels != means.labels or head.dimension != means.dimension:
        raise ShapeError(
            f"expected both over the same labels and dimension, got {head.labels} labels of "
            f"dimension {head.dimension} and {means.labels} of {means.dimension}"
        )
    if head.bias is not None:
        raise InputError(
            "a head with a bias cannot be extended by means, which have none; "
            "build it with from_head(..., bias=None)"
        )
    has_row = (head.rows >= 0) & head.valid[head.rows.clamp(min=0)]
    missing = ~has_row & (means.rows >= 0) & means.valid[means.rows.clamp(min=0)]
    added = means.rows[missing]
    rows = torch.where(has_row, head.rows, NO_ANCHOR)
    rows[missing] = torch.arange(
        len(head.vectors), len(head.vectors) + len(added), device=rows.device
    )
    return Reference(
        torch.cat([head.vectors, means.vectors[added].to(head.vectors)]),
        torch.cat([head.valid, torch.ones_like(added, dtype=torch.bool)]),
        rows,
        space=head.space,
    )
