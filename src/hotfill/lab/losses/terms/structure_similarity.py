"""SSP: both models must place an item alike among fixed anchors of parts of the space."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, normalize

from hotfill.errors import ConfigError, ShapeError
from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, check_same_space, nothing, weighted_mean


@final
class StructureSimilarity(Term):
    """Mean over sub-spaces of KL(softmax(b S_g) || softmax(b S_q)), S = cosines with the anchors.

    SSP (Wu et al., arXiv 2403.00648; code read): vectors are cut into M parts, and every part is
    compared with its own anchors. Labels play no part.

    anchors: (M, k, dimension / M), the centroids of a product quantiser of gallery vectors
    (`product_centroids`). sharpness: b > 0; 10 in the code.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"old"})
    anchors: Tensor

    def __init__(self, anchors: Tensor, *, sharpness: float = 10.0) -> None:
        super().__init__()
        if anchors.ndim != 3 or anchors.shape[1] < 2:
            raise ShapeError(
                f"anchors: expected (parts, at least 2, dimension), got {tuple(anchors.shape)}"
            )
        if not sharpness > 0:
            raise ConfigError(f"expected sharpness > 0, got {sharpness}")
        self.register_buffer("anchors", normalize(anchors.detach(), dim=2))
        self.sharpness = sharpness

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; see Term."""
        new, old = map_(pairs.new), pairs.embeddings("old")
        check_same_space(new, old)
        parts, _, width = self.anchors.shape
        if new.shape[1] != parts * width:
            raise ShapeError(
                f"anchors of {parts} parts of {width} numbers meet vectors of {new.shape[1]}"
            )
        if len(pairs) == 0:
            return nothing(new)
        losses = kl_div(
            self._places(new), self._places(old), log_target=True, reduction="none"
        ).sum(dim=2)
        return weighted_mean(losses.mean(dim=1), pairs.weight)

    def _places(self, vectors: Tensor) -> Tensor:
        """Log probabilities over the anchors: (n, parts, k)."""
        parts, _, width = self.anchors.shape
        cut = normalize(vectors.reshape(len(vectors), parts, width), dim=2)
        scores = torch.einsum("npw,pkw->npk", cut, self.anchors.to(cut))
        return log_softmax(self.sharpness * scores, dim=2)
