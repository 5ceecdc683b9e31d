"""HOC: the higher-order contrast of stationary representations."""

from __future__ import annotations

import math
from typing import ClassVar, final

from torch.nn.functional import normalize

from hotfill.errors import ConfigError
from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch, opposites
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, check_same_space, nothing, weighted_mean


@final
class StationaryContrast(Term):
    """-m s_ii + log sum over other classes j of e^{m s_ij}, s = cosine(old_i, new_j).

    d-Simplex-HOC (Biondi et al., CVPR 2024; read in code). The released code masks by multiplying
    with zero, so that every same-class entry adds 1 to the sum; here masked entries are -inf.
    Unlike a softmax the positive is not in the sum, so the value may be negative.
    sharpness: m > 0. Items without a single opposite take no part.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"old"})

    def __init__(self, sharpness: float = 10.0) -> None:
        super().__init__()
        if not sharpness > 0:
            raise ConfigError(f"expected sharpness > 0, got {sharpness}")
        self.sharpness = sharpness

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; see Term."""
        new = normalize(map_(pairs.new))
        old = pairs.embeddings("old")
        check_same_space(new, old)
        against = opposites(pairs)
        active = against.any(dim=1)
        if not bool(active.any()):
            return nothing(new)
        scores = normalize(old)[active] @ new.T * self.sharpness
        right = (normalize(old)[active] * new[active]).sum(dim=1) * self.sharpness
        losses = scores.masked_fill(~against[active], -math.inf).logsumexp(dim=1) - right
        return weighted_mean(losses, None if pairs.weight is None else pairs.weight[active])
