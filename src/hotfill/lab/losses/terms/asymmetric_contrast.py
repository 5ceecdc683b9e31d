"""AML: a contrastive loss whose examples are the gallery model's."""

from __future__ import annotations

from typing import ClassVar, final

from torch.nn.functional import normalize

from hotfill.errors import ConfigError
from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch, companions, opposites
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, check_same_space, nothing, weighted_mean


@final
class AsymmetricContrast(Term):
    """sum over negatives of [s - margin]+ - sum over positives of s, s = cosine(query, gallery).

    AML (Budnik & Avrithis, CVPR 2021; poster and code read): anchors by the model being trained,
    examples by the fixed one (`old`). itself: count the item's own gallery vector among the
    positives ("Contr+"); without it "Contr".
    The sums grow with the batch, as the paper writes them; we divide each by its number of pairs,
    so that the two stay in balance whatever the batch.
    margin: of the cosine, -1 to 1. Its code has a Euclidean margin of 0.7 on unit vectors, which is
    a cosine of 1 - 0.7^2 / 2 = 0.755, our default.
    Items without a label take part with their own vector only.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"old"})

    def __init__(self, margin: float = 0.755, *, itself: bool = True) -> None:
        super().__init__()
        if not -1 <= margin <= 1:
            raise ConfigError(f"expected a margin from -1 to 1, got {margin}")
        self.margin, self.itself = margin, itself

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; see Term."""
        new = normalize(map_(pairs.new))
        old = pairs.embeddings("old")
        check_same_space(new, old)
        against, together = opposites(pairs), companions(pairs)
        if not self.itself:
            together = together.clone().fill_diagonal_(False)
        active = together.any(dim=1) | against.any(dim=1)
        if not bool(active.any()):
            return nothing(new)
        cosines = new @ normalize(old).T
        push = ((cosines - self.margin).clamp(min=0) * against).sum(dim=1)
        pull = (cosines * together).sum(dim=1)
        losses = push / against.sum(dim=1).clamp(min=1) - pull / together.sum(dim=1).clamp(min=1)
        return weighted_mean(losses[active], None if pairs.weight is None else pairs.weight[active])
