"""Anchors refined by the new model's neighbourhoods (UniBCT)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hotfill.errors import ConfigError, ShapeError
from hotfill.lab.losses.reference import Reference
from hotfill.lab.losses.references.groups import groups


def refined(
    old: Tensor,
    new: Tensor,
    labels: Tensor,
    classes: int,
    *,
    propagation: float = 0.9,
    temperature: float = 0.05,
    most: int = 512,
) -> Reference:
    """Class means after spreading old embeddings along the new model's similarities.

    For one class with old unit rows V and new unit rows S (UniBCT, equations 9 and 10, as cited in
    third-party code; the paper itself could not be read):

        A = softmax over each row of (S S^T / temperature), the diagonal left out
        anchor = mean of the rows of (1 - propagation) (I - propagation A)^-1 V

    Each row of A sums to 1, so central items gain weight and outliers lose it. (With the columns
    summing to 1, as in the code that is published, the anchor is exactly the plain mean.)

    old: (n, old dimension), new: (n, new dimension), the same items, of any length.
    labels: (n,) int64 below `classes`, -1 = not used.
    propagation: 0 to below 1; 0 gives plain means. temperature: > 0.
    most: items per class that are used, the first ones; bounds the (items, items) system.
    Raises ShapeError, InputError, ConfigError.
    """
    if not 0 <= propagation < 1 or not temperature > 0 or most < 1:
        raise ConfigError(
            "refined needs 0 <= propagation < 1, temperature > 0 and most >= 1; got "
            f"{propagation}, {temperature}, {most}"
        )
    if len(old) != len(new):
        raise ShapeError(
            f"old and new embeddings of the same items are needed: got {len(old)} and {len(new)}"
        )
    old, new = normalize(old.detach()), normalize(new.detach())
    anchors = old.new_zeros(classes, old.shape[1])
    counts = torch.zeros(classes, dtype=torch.int64, device=old.device)
    for label, rows in groups(labels, classes, len(old)):
        rows = rows[:most]
        anchors[label] = _spread(old[rows], new[rows], propagation, temperature).mean(dim=0)
        counts[label] = len(rows)
    return Reference(
        anchors,
        counts > 0,
        torch.arange(classes, device=old.device),
        space="old",
        count=counts,
    )


def _spread(old: Tensor, new: Tensor, propagation: float, temperature: float) -> Tensor:
    if len(old) == 1:
        return old
    scores = (new @ new.T / temperature).fill_diagonal_(-math.inf)
    system = torch.eye(len(old)).to(old) - propagation * scores.softmax(dim=1).to(old)
    spread: Tensor = (1 - propagation) * torch.linalg.solve(system, old)
    return spread
