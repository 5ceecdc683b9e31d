"""Any loss of pytorch-metric-learning, with old embeddings as its reference set."""

from __future__ import annotations

from typing import Any, ClassVar, final

from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, check_same_space, nothing


@final
class MetricLoss(Term):
    """New embeddings ask, old embeddings of the batch answer, by any pair or triplet loss.

    loss: a `pytorch_metric_learning.losses` object that accepts a reference set, for example
        TripletMarginLoss or MultiSimilarityLoss; its own distance, miner and reducer apply, so
        `weight` of the pairs is not read.
    Items without a label take no part.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"old", "label"})

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; `active` counts labelled items. See Term."""
        new, old = map_(pairs.new), pairs.embeddings("old")
        check_same_space(new, old)
        if pairs.label is None or not bool((pairs.label >= 0).any()):
            return nothing(new)
        known = pairs.label >= 0
        label = pairs.label[known]
        # A copy: given the very same labels, the library takes i and i for one embedding and drops
        # an item's own old vector from its positives.
        found = self.loss(new[known], label, ref_emb=old[known], ref_labels=label.clone())
        return Value(found + nothing(new).loss, int(known.sum()))
