"""The losses that maps are trained by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from hotfill.errors import ConfigError


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


# Metric-compatible contrastive learning: distances of two systems become one scale.
# For an anchor i, with s = exp(-distance / temperature) and dots for the pairs the sums run over,
#     joint        -log [ P_old / (P_old + N_old + N_new) ] - log [ P_new / (P_new + N_old + N_new)
#     ] independent  -log [ P_old / (P_old + N_old) ]         - log [ P_new / (P_new + N_new) ]
#     old, new     one of the two parts of "independent"
# P_old = sum of s_old over the anchor's positives, N_old over its negatives, and so for new. The
# joint loss holds the negatives of both systems in each denominator: an old-side positive must be
# nearer than new-side negatives and the other way round, which is the comparison a rank merge
# makes. Source: Seo et al., WACV 2025, equation 11 [structure read in a third party's account, form
# from memory; section 2.4 of the method notes]. All sums are logsumexp.

Contrast: TypeAlias = Literal["joint", "independent", "old", "new"]
CONTRASTS: tuple[str, ...] = get_args(Contrast)


@dataclass(frozen=True, eq=False)
class SideMasks:
    """Which of a batch's pairs (anchor i, item k) count on one side.

    positives, negatives: bool (b, b), disjoint. An item is neither where it is the anchor itself
    on its own side, or where nothing is known.
    """

    positives: Tensor
    negatives: Tensor

    def to(self, device: str) -> SideMasks:
        """Bring both to a device."""
        return SideMasks(self.positives.to(device), self.negatives.to(device))

    def with_itself(self) -> SideMasks:
        """Make each anchor's own row in the other space a positive too."""
        own = torch.eye(len(self.positives), dtype=torch.bool, device=self.positives.device)
        return SideMasks(self.positives | own, self.negatives)

    def hardest(self, distances: Tensor, negatives: int) -> SideMasks:
        """Keep each anchor's farthest positive and its nearest negatives: batch-hard mining."""
        from_positives = distances.masked_fill(~self.positives, -torch.inf)
        farthest = torch.zeros_like(self.positives)
        farthest.scatter_(1, from_positives.argmax(dim=1, keepdim=True), True)
        to_negatives = distances.masked_fill(~self.negatives, torch.inf)
        count = min(negatives, distances.shape[1])
        nearest = torch.zeros_like(self.negatives)
        nearest.scatter_(1, to_negatives.topk(count, dim=1, largest=False).indices, True)
        return SideMasks(self.positives & farthest, self.negatives & nearest)


def contrast_loss(
    old_distances: Tensor,
    new_distances: Tensor,
    old: SideMasks,
    new: SideMasks,
    *,
    temperature: float,
    kind: Contrast = "joint",
) -> Tensor:
    """Compute the loss of a batch; see the module. Returns a scalar, attached to the graph.

    old_distances: (b, b), anchor i carried to the old space against old vector k.
    new_distances: (b, b), the same in the new space. temperature: > 0.
    Each part is a mean over the anchors that have a positive there; 0 where none has.
    """
    if kind not in CONTRASTS:
        raise ConfigError(f"contrast: expected one of {', '.join(CONTRASTS)}; got {kind!r}")
    if not temperature > 0:
        raise ConfigError(f"a contrast needs a temperature > 0, got {temperature}")
    old_logits, new_logits = -old_distances / temperature, -new_distances / temperature
    parts = []
    if kind != "new":
        others = (new_logits, new.negatives) if kind == "joint" else None
        parts.append(_part(old_logits, old, others))
    if kind != "old":
        others = (old_logits, old.negatives) if kind == "joint" else None
        parts.append(_part(new_logits, new, others))
    return torch.stack(parts).sum()


def _part(logits: Tensor, masks: SideMasks, others: tuple[Tensor, Tensor] | None) -> Tensor:
    """-log of the share that the positives have, mean over anchors with a positive."""
    anchors = masks.positives.any(dim=1)
    if not anchors.any():
        return logits.sum() * 0.0
    own, positives = logits[anchors], masks.positives[anchors]
    numerator = own.masked_fill(~positives, -torch.inf).logsumexp(dim=1)
    compared = [own.masked_fill(~(positives | masks.negatives[anchors]), -torch.inf)]
    if others is not None:
        compared.append(others[0][anchors].masked_fill(~others[1][anchors], -torch.inf))
    return (torch.cat(compared, dim=1).logsumexp(dim=1) - numerator).mean()


def supervised_contrast(
    anchors: Tensor, others: Tensor, masks: SideMasks, *, temperature: float
) -> Tensor:
    """SupCon between two sets of vectors of the same items, by cosine.

    mean over anchors i and their positives p of  -log [ exp(c_ip / t) / sum_k exp(c_ik / t) ],
    c the cosine, k all positives and negatives. anchors, others: (b, d). Returns a scalar.
    Source: Khosla et al., NeurIPS 2020 (the form with the mean outside the logarithm).
    """
    cosines = torch.nn.functional.normalize(anchors) @ torch.nn.functional.normalize(others).T
    logits = cosines / temperature
    counted = masks.positives | masks.negatives
    everything = logits.masked_fill(~counted, -torch.inf).logsumexp(dim=1, keepdim=True)
    share = (everything - logits).masked_fill(~masks.positives, 0.0)
    return (share.sum(dim=1) / masks.positives.sum(dim=1)).mean()
