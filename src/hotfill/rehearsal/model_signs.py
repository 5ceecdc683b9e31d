"""Signs, without any label, of whether a new model is better than the old one.

No measure without labels can prove this; taking the new model's own neighbours for the truth makes
it look best by construction. What can be seen is whether the two models differ at all, whether the
new one's neighbourhoods hang together as well as the old one's, and whether it knows something that
the old one does not. [own proposal; on the real pairs of `benchmarks/mixed_quality` coherence named
the better model where the difference was above a twentieth.]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 10
SAMPLE = 2500  # items; the matrices of similarities are square in this
SAME = 0.99  # of the neighbours shared: the models answer alike
LESS_COHERENT = 0.95  # of the old model's coherence: below, the new one is probably worse


@dataclass(frozen=True, slots=True)
class ModelSigns:
    """What two models look like without labels.

    agreement: share of the ten nearest neighbours that both models name, 0 to 1.
    old_coherence, new_coherence: share of an item's neighbourhood that its neighbours' own
        neighbourhoods hold too, 0 to 1; noise lowers it.
    """

    agreement: float
    old_coherence: float
    new_coherence: float

    @property
    def same(self) -> bool:
        """Whether both models answer alike, so that an upgrade changes nothing."""
        return self.agreement >= SAME

    @property
    def probably_worse(self) -> bool:
        """Whether the new model's neighbourhoods hang together clearly less."""
        return self.new_coherence < LESS_COHERENT * self.old_coherence


def model_signs(old: NDArray[np.float32], new: NDArray[np.float32], *, seed: int) -> ModelSigns:
    """Look at a sample of items. old, new: (n, dimension), rows of unit length, n >= 2."""
    rows = np.random.default_rng(seed).permutation(len(old))[:SAMPLE]
    old_near, new_near = _neighbourhoods(old[rows]), _neighbourhoods(new[rows])
    size = old_near.sum(axis=1).astype(np.float64)
    shared = (old_near & new_near).sum(axis=1) - 1  # without the item itself
    return ModelSigns(
        float(np.mean(shared / (size - 1))), _coherence(old_near), _coherence(new_near)
    )


def _neighbourhoods(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mark each item and its nearest: bool (n, n)."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, np.inf)
    near = np.zeros(scores.shape, dtype=np.bool_)
    size = min(NEIGHBOURS + 1, len(vectors))
    nearest = np.argpartition(-scores, size - 1, axis=1)[:, :size]
    np.put_along_axis(near, nearest, True, axis=1)
    return near


def _coherence(near: NDArray[np.bool_]) -> float:
    """Mean overlap of an item's neighbourhood with those of its neighbours."""
    size = int(near[0].sum())
    links = near.astype(np.float32)
    shared = (links @ links.T)[near].sum() - near.sum()  # an item overlaps itself wholly
    return float(shared / (near.sum() - len(near)) / size) if size > 1 else 1.0
