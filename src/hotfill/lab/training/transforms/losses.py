"""The losses of maps between frozen spaces that are not contrasts; each a function of tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_square(mapped: Tensor, true: Tensor) -> Tensor:
    """L_RQT of SEO and the loss of FCT: squared error, mean over coordinates and rows.

    mapped, true: (n, d). The mean over coordinates matters: a sum swamps the contrast it is added
    to (section 2.6 of the method notes, measured there).
    """
    return (mapped - true).square().mean()


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, *, smoothing: float) -> Tensor:
    """(1 - s) NLL + s mean_c(-log p_c), one value per row: (n,).

    logits: (n, classes). labels: int64 (n,). smoothing: 0 to below 1.
    """
    return torch.nn.functional.cross_entropy(
        logits, labels, label_smoothing=smoothing, reduction="none"
    )


def fastfill_loss(
    similarity: Tensor, discrimination: Tensor, log_variance: Tensor, *, uncertainty_weight: float
) -> Tensor:
    """mean [ 0.5 exp(-s) l + mu s ],   l = similarity + discrimination, per row.

    similarity: squared feature error, mean over coordinates, (n,). discrimination: (n,).
    log_variance: s, (n,). At mu = 0.5 this is a Gaussian negative log-likelihood; its optimum
    s = log(l / 2 mu) follows the combined loss, not the feature error alone.
    Source: Jaeckle et al., ICLR 2023; read in the public trainer (section 3.1 of the notes).
    """
    combined = similarity + discrimination
    return (0.5 * torch.exp(-log_variance) * combined + uncertainty_weight * log_variance).mean()
