"""CSD: the query model must see a gallery item's neighbourhood as the gallery model does."""

from __future__ import annotations

from typing import ClassVar, final

from torch.nn.functional import kl_div, log_softmax, normalize

from hotfill.errors import ConfigError
from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, check_same_space, nothing, weighted_mean


@final
class ContextualSimilarity(Term):
    """KL(softmax(C_g / t_g) || softmax(C_q / t_q)) over the nearest gallery vectors of the item.

    CSD (Wu et al., CVPR 2022; read in `SCY-X/D3still`'s code): C_g are the cosines of the item's
    gallery vector with itself and its K nearest in the batch, C_q those of its query vector with
    the same gallery vectors. The first entry brings the vector itself over, the others the order.
    Labels play no part.

    neighbours: K >= 1, besides the item itself; fewer where the batch is smaller. 255 (256 with
    itself), 0.01 and 1 are that code's; the original mines neighbours in the whole training set.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"old"})

    def __init__(
        self,
        neighbours: int = 255,
        *,
        gallery_temperature: float = 0.01,
        query_temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if neighbours < 1 or not min(gallery_temperature, query_temperature) > 0:
            raise ConfigError(
                "expected neighbours >= 1 and temperatures > 0, got "
                f"{neighbours}, {gallery_temperature}, {query_temperature}"
            )
        self.neighbours = neighbours
        self.gallery_temperature, self.query_temperature = gallery_temperature, query_temperature

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; see Term."""
        new = normalize(map_(pairs.new))
        old = pairs.embeddings("old")
        check_same_space(new, old)
        if len(pairs) < 2:
            return nothing(new)
        old = normalize(old)
        # The item itself is the nearest to itself, so it is among them.
        context, nearest = (old @ old.T).topk(min(self.neighbours + 1, len(pairs)), dim=1)
        seen = (new @ old.T).gather(1, nearest)
        losses = kl_div(
            log_softmax(seen / self.query_temperature, dim=1),
            log_softmax(context / self.gallery_temperature, dim=1),
            log_target=True,
            reduction="none",
        ).sum(dim=1)
        return weighted_mean(losses, pairs.weight)
