"""RACT: the old embedding of the same item against the hardest old and new ones."""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hotfill.errors import ConfigError
from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch, opposites
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, check_same_space, nothing, weighted_mean


@final
class ItemContrast(Term):
    """-log softmax of the cosine with one's own old embedding, among hard negatives.

    RACT (Zhang et al., ICLR 2022; read in code): with cosines s_no (new to old) and s_nn (new to
    new) divided by the temperature,

        -log( e^{s_no(i,i)} / (e^{s_no(i,i)} + sum of K hardest e^{s_no(i,k)}
                                             + sum of K hardest e^{s_nn(i,k)}) )

    where k runs over items of other classes. During a hot refresh old and new vectors answer
    together; the new negatives are what keeps a new item from beating an old match.

    temperature: > 0. hardest: K >= 1, or None for all. new_negatives: without them this is the
    plain contrast across models. Items without a single opposite take no part.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"old"})

    def __init__(
        self, temperature: float, *, hardest: int | None = None, new_negatives: bool = True
    ) -> None:
        super().__init__()
        if not temperature > 0 or (hardest is not None and hardest < 1):
            raise ConfigError(
                f"expected temperature > 0 and hardest >= 1, got {temperature}, {hardest}"
            )
        self.temperature, self.hardest, self.new_negatives = temperature, hardest, new_negatives

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; see Term."""
        new = normalize(map_(pairs.new))
        old = pairs.embeddings("old")
        check_same_space(new, old)
        old = normalize(old)
        against = opposites(pairs)
        active = against.any(dim=1)
        if not bool(active.any()):
            return nothing(new)
        to_old = new[active] @ old.T / self.temperature
        right = (new[active] * old[active]).sum(dim=1, keepdim=True) / self.temperature
        banks = [right, self._hard(to_old, against[active])]
        if self.new_negatives:
            banks.append(self._hard(new[active] @ new.T / self.temperature, against[active]))
        losses = torch.cat(banks, dim=1).logsumexp(dim=1) - right.squeeze(1)
        return weighted_mean(losses, None if pairs.weight is None else pairs.weight[active])

    def _hard(self, scores: Tensor, allowed: Tensor) -> Tensor:
        scores = scores.masked_fill(~allowed, -math.inf)
        if self.hardest is None or self.hardest >= scores.shape[1]:
            return scores
        return scores.topk(self.hardest, dim=1).values
