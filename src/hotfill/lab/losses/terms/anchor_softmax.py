"""Softmax over anchors: BCT's influence loss, UniBCT, CoReS, and plain classification."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor
from torch.nn.functional import cross_entropy

from hotfill.lab.losses.head import Score, logits
from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch, Side
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, nothing, weighted_mean


@final
class AnchorSoftmax(Term):
    """-log softmax over the anchors of one space, at the anchor of the item's class.

    asks=new, anchors=old: the influence loss of BCT, and UniBCT with refined anchors.
    asks=new, anchors=new: classification by the new head (fixed to a simplex: CoReS).
    asks=old, anchors=new: a forward map taught by the new head. Then only the map learns; the
    head, like the new model, is what it is to be mapped to.
    Items without a label or a valid anchor take no part; the mean is over the others.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"label"})

    def __init__(self, anchors: Side, score: Score, *, asks: Side = "new") -> None:
        super().__init__()
        self.anchors, self.score, self.asks = anchors, score, asks

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; see Term."""
        reference = references.of(self.anchors)
        if self.asks == "old":
            reference = reference.detached()
        asking: Tensor = map_(pairs.embeddings(self.asks))
        row = reference.answering(pairs)
        active = row >= 0
        if not bool(active.any()):
            return nothing(asking)
        row = row[active]
        found = logits(self.score, asking[active], reference, row)
        losses = cross_entropy(found, row, reduction="none")
        return weighted_mean(losses, None if pairs.weight is None else pairs.weight[active])
