"""The contrast across models with every old embedding of the class as a positive."""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch.nn.functional import normalize

from hotfill.errors import ConfigError
from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch, companions, opposites
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, check_same_space, nothing, weighted_mean


@final
class ClassContrast(Term):
    """For each old embedding p of the class: -log( e^{s_p} / (e^{s_p} + sum of negatives) ).

    The supervised contrast of openBCT (read in code): s = cosine(new, old) / temperature, the
    negatives are old embeddings of other classes, the mean is over p, then over items. Other
    positives are not in the denominator. Equal to pytorch-metric-learning's NTXentLoss with a
    reference set and a mean per anchor, without its (pairs x negatives) memory.
    temperature: > 0. Items without a single opposite take no part.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"old"})

    def __init__(self, temperature: float = 0.05) -> None:
        super().__init__()
        if not temperature > 0:
            raise ConfigError(f"expected temperature > 0, got {temperature}")
        self.temperature = temperature

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; see Term."""
        new = normalize(map_(pairs.new))
        old = pairs.embeddings("old")
        check_same_space(new, old)
        against, together = opposites(pairs), companions(pairs)
        active = against.any(dim=1)
        if not bool(active.any()):
            return nothing(new)
        scores = new[active] @ normalize(old).T / self.temperature
        wrong = scores.masked_fill(~against[active], -math.inf).logsumexp(dim=1, keepdim=True)
        each = torch.nn.functional.softplus(wrong - scores) * together[active]
        losses = each.sum(dim=1) / together[active].sum(dim=1)
        return weighted_mean(losses, None if pairs.weight is None else pairs.weight[active])
