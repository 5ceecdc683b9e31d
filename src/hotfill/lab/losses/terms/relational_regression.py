"""RAML: imitation of each vector, and of the similarities between them."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, check_same_space, nothing, weighted_mean


@final
class RelationalRegression(Term):
    """mean (1 - s.t)^2 + across * MSE(S T', T T') + within * MSE(S S', T T'), off the diagonals.

    RAML (Suma & Tolias, WACV 2023; code read): S, T are unit vectors of the model being trained and
    of the fixed one. There a batch is the augmented versions of *one* image, each seen by both
    models. With one vector per item from a cache the relations are those between the items of the
    batch, which is how `SCY-X/D3still` compares RAML; for the original, give batches of versions.
    Labels play no part.

    across, within: the two weights; about 0.7 each in the paper, tuned per data set. (That library
    reads the first for both, by mistake.)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"old"})

    def __init__(self, *, across: float = 0.7, within: float = 0.7) -> None:
        super().__init__()
        self.across, self.within = across, within

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; see Term."""
        new = normalize(map_(pairs.new))
        old = pairs.embeddings("old")
        check_same_space(new, old)
        if len(pairs) == 0:
            return nothing(new)
        old = normalize(old)
        losses = (1 - (new * old).sum(dim=1)).square()
        if len(pairs) > 1:
            target = old @ old.T
            losses = losses + self.across * _off_diagonal(new @ old.T - target)
            losses = losses + self.within * _off_diagonal(new @ new.T - target)
        return weighted_mean(losses, pairs.weight)


def _off_diagonal(difference: Tensor) -> Tensor:
    """Mean square of each row without its diagonal entry: (n, n) to (n,)."""
    squares = difference.square()
    return (squares.sum(dim=1) - torch.diagonal(squares)) / (len(squares) - 1)
