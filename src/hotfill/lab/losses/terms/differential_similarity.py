"""D3still: the differences between neighbours' similarities, wrong and right ones apart."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hotfill.errors import ConfigError
from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, check_same_space, nothing

_FLOOR = 0.1  # added to the gallery model's difference, so that small ones do not explode


@final
class DifferentialSimilarity(Term):
    """Keep the order of the nearest gallery vectors, and how far apart they are.

    D3still (Xie et al., CVPR 2024; code read). For each item the gallery model sorts the batch by
    similarity; C_g and C_q are both models' similarities in that order, the item itself first. With
    D[j, k] = C[k] - C[j] over ranks 2 to K and e = (D_q - D_g) / (0.1 + |D_g|):

        feature * ||C_g[first] - C_q[first]|| / B
        + wrong * mean ||e where D_q D_g < 0|| / (K - 1) + right * mean ||e where > 0|| / (K - 1)

    neighbours: K >= 3, with the item itself. Defaults are the code's. There the student also has a
    classification and a triplet loss; in the paper it has not. Weights of the pairs are not read:
    the first norm is over the batch. Labels play no part. Fewer than 3 items give the first part.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"old"})

    def __init__(
        self,
        neighbours: int = 10,
        *,
        feature: float = 100.0,
        wrong: float = 5.0,
        right: float = 1.0,
    ) -> None:
        super().__init__()
        if neighbours < 3:
            raise ConfigError(
                f"expected neighbours >= 3, the item itself included; got {neighbours}"
            )
        self.neighbours = neighbours
        self.feature, self.wrong, self.right = feature, wrong, right

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; see Term."""
        new = normalize(map_(pairs.new))
        old = pairs.embeddings("old")
        check_same_space(new, old)
        count = len(pairs)
        if count == 0:
            return nothing(new)
        old = normalize(old)
        kept = min(self.neighbours, count)
        gallery, order = (old @ old.T).topk(kept, dim=1)
        query = (new @ old.T).gather(1, order)
        loss = self.feature * _norm(gallery[:, 0] - query[:, 0]) / count
        if kept >= 3:
            wanted, found = _differences(gallery[:, 1:]), _differences(query[:, 1:])
            error = (found - wanted) / (_FLOOR + wanted.abs())
            product = found * wanted
            for weight, mask in ((self.wrong, product < 0), (self.right, product > 0)):
                loss = loss + weight * _norm((error * mask).flatten(1)).mean() / (kept - 1)
        return Value(loss, count)


def _differences(similarities: Tensor) -> Tensor:
    """(n, k) to (n, k, k): [j, k] = k minus j."""
    return similarities.unsqueeze(1) - similarities.unsqueeze(2)


def _norm(values: Tensor) -> Tensor:
    """Euclidean length of the last axis, whose slope at zero is zero instead of undefined."""
    squares = values.square().sum(dim=-1)
    zero = squares == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squares).sqrt())
