"""MixBCT: one classifier over a mixture of new and old embeddings."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch.nn.functional import cross_entropy, normalize

from hotfill.errors import ConfigError, InputError
from hotfill.lab.losses.head import Cosine, logits
from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, check_same_space, nothing, weighted_mean


@final
class MixedSoftmax(Term):
    """The new head's softmax, with some new embeddings replaced by the same items' old ones.

    MixBCT (2023; read in code): the head must serve both, so new classes settle around the old
    ones. Only credible old embeddings are used, those within their class's radius of the old
    anchor (0.9 of each class with `from_means(..., radius=nearest_share(0.9))`).

    score: a cosine score, since old and new lengths cannot be compared. share: of the items to
    replace, 0 to 1, drawn from torch's global generator at each call; this is the one Term that
    draws, and `torch.manual_seed` makes it repeatable. The map carries old to new dimension.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"old", "label"})

    def __init__(self, score: Cosine, *, share: float = 0.3) -> None:
        super().__init__()
        if not isinstance(score, Cosine) or not 0 <= share <= 1:
            raise ConfigError(f"expected a Cosine score and a share from 0 to 1, got {share}")
        self.score, self.share = score, share

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; see Term. Raises InputError when anchors have no radius."""
        head, anchors = references.of("new"), references.of("old")
        if anchors.radius is None:
            raise InputError("the mixture needs anchors with radii: build them by from_means")
        new, old = pairs.new, pairs.embeddings("old")
        check_same_space(old, anchors.vectors)
        mapped = map_(old)
        check_same_space(mapped, new)
        row = head.answering(pairs)
        active = row >= 0
        if not bool(active.any()):
            return nothing(new, head.vectors)
        anchor = anchors.answering(pairs)
        distance = (normalize(old) - anchors.vectors[anchor.clamp(min=0)]).norm(dim=1)
        credible = (anchor >= 0) & (distance <= anchors.radius[anchor.clamp(min=0)] + 1e-6)
        replaced = credible & (torch.rand(len(pairs), device=new.device) < self.share)
        mixture = torch.where(replaced.unsqueeze(1), normalize(mapped), normalize(new))
        row = row[active]
        losses = cross_entropy(
            logits(self.score, mixture[active], head, row), row, reduction="none"
        )
        return weighted_mean(losses, None if pairs.weight is None else pairs.weight[active])
