"""Anchors fixed beforehand at the corners of a regular simplex (CoReS)."""

from __future__ import annotations

import torch

from hotfill.errors import ConfigError
from hotfill.lab.losses.pairs import Side
from hotfill.lab.losses.reference import Reference


def simplex(classes: int, *, space: Side = "new") -> Reference:
    """K unit anchors in K - 1 dimensions, every two at cosine -1 / (K - 1).

    As CoReS and the stationary representations (read in code) fix their heads: the K - 1 unit
    vectors and one more row, ((1 - sqrt(K)) / (K - 1), ...), centred and brought to unit length.
    classes: K >= 2, an upper bound of the classes ever to come; all versions share the anchors.
    Raises ConfigError.
    """
    if classes < 2:
        raise ConfigError(f"a simplex needs at least 2 classes, got {classes}")
    dimension = classes - 1
    corners = torch.eye(classes, dimension, dtype=torch.float64)
    corners[-1] = (1 - classes**0.5) / dimension
    corners -= corners.mean(dim=0)
    corners /= corners.norm(dim=1, keepdim=True)
    rows = torch.arange(classes)
    return Reference(corners.float(), torch.ones(classes, dtype=torch.bool), rows, space=space)
