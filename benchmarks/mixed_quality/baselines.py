"""Ways to merge two sides that hotfill does not offer: baselines."""

from __future__ import annotations

import numpy as np

from hotfill.rehearsal.maps import SplitPairs
from hotfill.rehearsal.mixed_gallery import MixedGallery
from hotfill.rehearsal.sample import Sample
from hotfill.rehearsal.strategies import both_sides, naive_merge, old_side_alone

RANK_CONSTANT = 60.0  # Cormack, Clarke, Büttcher 2009


def two_encoders(sample: Sample, pairs: SplitPairs, *, calibration: str) -> MixedGallery:
    """Distance rank merge of two complete systems, calibrated."""
    old_side = old_side_alone(sample, pairs, calibration)
    sides = both_sides(sample, old_side)
    return MixedGallery("merge", "two encoders", calibration, sides, queries="both")


def rank_fusion(sample: Sample) -> MixedGallery:
    """Reciprocal rank fusion of two complete systems."""
    sides = naive_merge(sample).sides
    return MixedGallery("rrf", "none", "ranks", sides, merge=fuse_ranks, queries="both")


def fuse_ranks(old: np.ndarray, new: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Score each item by 1 / (60 + its rank within its side); equal ranks tie."""
    fused = np.empty(old.shape, dtype=np.float64)
    for side, columns in ((old, np.flatnonzero(~moved)), (new, np.flatnonzero(moved))):
        ranks = np.empty((len(side), len(columns)))
        order = np.argsort(-side[:, columns], axis=1)
        np.put_along_axis(ranks, order, np.arange(1.0, len(columns) + 1)[None, :], axis=1)
        fused[:, columns] = 1.0 / (RANK_CONSTANT + ranks)
    return fused
