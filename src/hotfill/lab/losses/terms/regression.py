"""Imitation of the embedding that the other model gives the same item."""

from __future__ import annotations

from typing import ClassVar, final

from torch.nn.functional import normalize

from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch, Side
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, check_same_space, nothing, weighted_mean


@final
class Regression(Term):
    """Squared distance of the two unit embeddings of one item, mean over items; 0 to 4.

    It is 2 - 2 cosine, so it also stands for the cosine distillation of CL2R. openBCT's L2 takes
    the mean over coordinates too: weigh it by 1 / dimension for that.
    asks=new: the new model imitates the old one. asks=old: the map carries old embeddings to the
    new ones, which are constants then.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"old"})

    def __init__(self, *, asks: Side = "new") -> None:
        super().__init__()
        self.asks = asks

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; see Term."""
        asking = map_(pairs.embeddings(self.asks))
        answering = pairs.embeddings("old" if self.asks == "new" else "new").detach()
        check_same_space(asking, answering)
        if len(pairs) == 0:
            return nothing(asking)
        losses = (normalize(asking) - normalize(answering)).square().sum(dim=1)
        return weighted_mean(losses, pairs.weight)
