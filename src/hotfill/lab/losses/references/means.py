"""Anchors from class means of old embeddings."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hotfill.lab.losses.reference import Reference
from hotfill.lab.losses.references.groups import groups
from hotfill.lab.losses.references.radius import without_outliers


def from_means(
    vectors: Tensor,
    labels: Tensor,
    classes: int,
    *,
    normalise: bool = False,
    radius: Callable[[Tensor], Tensor] = without_outliers,
) -> Reference:
    """The mean of the unit old embeddings of each class, with how far the class reaches.

    vectors: (n, old dimension) old embeddings of (part of) the new training set, of any length.
    labels: (n,) int64 below `classes`; -1 = not used. A class without vectors gets no anchor.
    normalise: bring the means to unit length too. The papers' codes differ; the plain mean is the
        default here, as in BCT and AdvBCT, and only Euclidean radii depend on it.
    radius: gives a class's radius from its ascending distances to the anchor.
    Raises ShapeError, InputError.
    """
    unit = normalize(vectors.detach())
    anchors = unit.new_zeros(classes, unit.shape[1])
    radii, lowest = unit.new_zeros(classes), unit.new_zeros(classes)
    counts = torch.zeros(classes, dtype=torch.int64, device=unit.device)
    for label, rows in groups(labels, classes, len(unit)):
        members = unit[rows]
        mean = members.mean(dim=0)
        anchor = normalize(mean, dim=0) if normalise else mean
        anchors[label] = anchor
        radii[label] = radius((members - anchor).norm(dim=1).sort().values)
        lowest[label] = (members @ normalize(anchor, dim=0)).min()
        counts[label] = len(rows)
    return Reference(
        anchors,
        counts > 0,
        torch.arange(classes, device=unit.device),
        space="old",
        radius=radii,
        min_cosine=lowest,
        count=counts,
    )
