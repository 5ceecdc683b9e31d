"""Anchors pushed away from their nearest neighbours."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch.nn.functional import normalize

from hotfill.errors import ConfigError
from hotfill.lab.losses.reference import Reference


def perturbed(
    reference: Reference,
    *,
    strength: float = 0.1,
    neighbours: int = 5,
    temperature: float = 0.1,
) -> Reference:
    """Move each anchor a little away from those that crowd it.

    Our reading of the abstract of arXiv 2503.14824 (prototype perturbation, 2025), whose equations
    we could not obtain: "align to perturbed old prototypes so that crowded old classes can
    separate". We chose, for unit anchors p and the nearest valid ones k with weights
    w = softmax(cosine / temperature):

        p' = normalise(p + strength * normalise(sum over k of w_k (p - p_k)))

    because it is the steepest way from the weighted neighbours, and its size has one meaning
    (strength = tangent of the angle moved, at most) whatever the crowding.
    strength: >= 0; 0 gives unit anchors unmoved. neighbours: >= 1.
    Raises ConfigError.
    """
    if strength < 0 or neighbours < 1 or not temperature > 0:
        raise ConfigError(
            "perturbed needs strength >= 0, neighbours >= 1 and temperature > 0; got "
            f"{strength}, {neighbours}, {temperature}"
        )
    anchors = normalize(reference.vectors.detach())
    kept = reference.valid.nonzero().flatten()
    if len(kept) < 2:
        return replace(reference, vectors=anchors, radius=None, min_cosine=None)
    unit = anchors[kept]
    cosines = (unit @ unit.T).fill_diagonal_(-math.inf)
    near, where = cosines.topk(min(neighbours, len(kept) - 1), dim=1)
    weight = (near / temperature).softmax(dim=1)
    away = unit - torch.einsum("ck,ckd->cd", weight, unit[where])
    moved = anchors.clone()
    moved[kept] = normalize(unit + strength * normalize(away))
    # Radii and cosines were measured around the unmoved anchors.
    return replace(reference, vectors=moved, radius=None, min_cosine=None)
