"""The training loss: a softmax over cosines with a margin."""

import torch
from torch import Tensor, nn


class CosineMarginLoss(nn.Module):
    """Cross-entropy over scaled cosines to one learnt centre per class, as in CosFace.

    The right class has `margin` taken from its cosine, so that it must win by that much
    (https://arxiv.org/abs/1801.09414). scale: what cosines are multiplied by, > 0.
    """

    def __init__(self, classes: int, dimension: int, *, scale: float, margin: float) -> None:
        super().__init__()
        # Short rows: Adam moves every number equally far, so long ones would hardly turn.
        self.centres = nn.Parameter(torch.randn(classes, dimension) * 0.05)
        self.scale = scale
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of (n, dimension) float embeddings with (n,) int64 labels below `classes`.

        Embeddings of any length; only their direction counts. Returns a scalar.
        """
        normalise = nn.functional.normalize
        cosines = normalise(embeddings) @ normalise(self.centres).T
        penalty = nn.functional.one_hot(labels, len(self.centres)) * self.margin
        return nn.functional.cross_entropy((cosines - penalty) * self.scale, labels)
