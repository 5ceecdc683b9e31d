"""AdvBCT's critic: old and new embeddings shall not be told apart."""

from __future__ import annotations

import math
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, check_same_space, nothing, weighted_mean

_NEW, _OLD = 0, 1


@final
class Adversarial(Term):
    """A critic learns to tell the models apart; the new model learns to prevent it.

    AdvBCT (Pan et al., CVPR 2023; read in code): cross-entropy of a small network that reads one
    embedding and says "new" or "old", summed over the two domains. Between the new embeddings and
    the critic stands gradient reversal: identity forwards, times -a backwards, with
    a = 2 / (1 + e^{-10 progress}) - 1, from 0 to 1. Old embeddings are constants.

    As released, the critic normalises each domain by its own batch statistics. That hides from it
    any shift and any scale, coordinate by coordinate, between old and new: it judges the shape of
    the two clouds only. Without the normalisation it wins easily, and its gradient outweighs the
    classification. No running statistics are kept. One change: it sees unit embeddings (as in the
    port of the authors' later face code), since length plays no part in search.

    dimension: of the old space. hidden: width of the critic. Batches of one item take no part:
    they have no statistics.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"old"})

    def __init__(self, dimension: int, *, hidden: int = 100) -> None:
        super().__init__()
        self.critic = nn.Sequential(
            nn.Linear(dimension, hidden),
            nn.BatchNorm1d(hidden, track_running_stats=False),
            nn.ReLU(),
            nn.Linear(hidden, 2),
        )

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; see Term."""
        new, old = map_(pairs.new), pairs.embeddings("old")
        check_same_space(new, old)
        if len(pairs) < 2:
            return nothing(new, *self.critic.parameters())
        reversal = 2 / (1 + math.exp(-10 * progress)) - 1
        said_new = self.critic(reverse_gradient(normalize(new), reversal))
        said_old = self.critic(normalize(old))
        domain = torch.full((len(pairs),), _NEW, device=new.device)
        losses = cross_entropy(said_new, domain, reduction="none") + cross_entropy(
            said_old, torch.full_like(domain, _OLD), reduction="none"
        )
        return weighted_mean(losses, pairs.weight)


def reverse_gradient(tensor: Tensor, factor: float) -> Tensor:
    """The same values; the gradient comes back times -factor."""
    reversed_: Tensor = _Reversal.apply(tensor, factor)  # type: ignore[no-untyped-call]
    return reversed_


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradients[0], None
