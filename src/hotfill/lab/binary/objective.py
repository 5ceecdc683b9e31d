"""The training losses: two-way cross-entropy against the hardest negatives, and similarity.

BEBR, method notes 1.3 (read in the authors' code). For pair i with codes a_i and c_i:

    loss_i = CE([A_ii, top-K of A_i.], 0) + CE([C_ii, top-K of C_i.], 0)
    A_ij = cos(a_i, c_j) / temperature,    C_ij = cos(c_i, a_j) / temperature

Columns of the same item are neither positive nor negative. Codes waiting in a queue are more
columns; how they join is derived, since the release lacks that function.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

_NEVER = -1e9


@dataclass(frozen=True, slots=True)
class Bank:
    """Codes without gradient that serve as further negatives.

    codes: float (n, code dimension), any length. items: int64 (n,).
    """

    codes: Tensor
    items: Tensor


def two_way_loss(
    first: Tensor,
    second: Tensor,
    compared_first: Tensor,
    compared_second: Tensor,
    items: Tensor,
    *,
    temperature: float,
    hardest: int,
    bank: Bank | None = None,
) -> Tensor:
    """Pull the two members of each pair together, push the hardest others away.

    first, second: codes of the pairs' members, (p, dimension), any length.
    compared_first, compared_second: what they are compared with: themselves, or the same
        members' codes by an old encoder (compatible training). `first` meets `compared_second`.
    items: int64 (p,); equal numbers are the same item.
    hardest: negatives kept per row (the paper keeps 5).
    Returns a scalar.
    """
    one = _one_way(first, compared_second, items, temperature, hardest, bank)
    return one + _one_way(second, compared_first, items, temperature, hardest, bank)


def similarity_loss(rows: Tensor, codes: Tensor, decoder: Tensor, *, temperature: float) -> Tensor:
    """Let float queries score codes as they score the float rows themselves.

    Ours, not the paper's: what asymmetric search needs is that <row_i, decoded code_j> follows
    <row_i, row_j>, above all among the nearest. So each row's softmax over all others by codes
    is drawn to its softmax by floats (Kullback-Leibler).

    rows: float (n, prepared dimension), unit length. codes: (n, code dimension).
    decoder: (prepared dimension, code dimension). Returns a scalar.
    """
    decoded = codes @ decoder.T
    factors = 1 / (rows * decoded).sum(dim=1).clamp(min=1e-3)
    own = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    wished = (rows @ rows.T / temperature).masked_fill(own, _NEVER)
    given = (rows @ decoded.T * factors / temperature).masked_fill(own, _NEVER)
    return nn.functional.kl_div(
        given.log_softmax(dim=1),
        wished.log_softmax(dim=1),
        log_target=True,
        reduction="batchmean",
    )


def _one_way(
    rows: Tensor,
    columns: Tensor,
    items: Tensor,
    temperature: float,
    hardest: int,
    bank: Bank | None,
) -> Tensor:
    rows = nn.functional.normalize(rows, dim=1)
    column_items = items
    positives = (rows * nn.functional.normalize(columns, dim=1)).sum(dim=1, keepdim=True)
    if bank is not None:
        columns = torch.cat([columns, bank.codes])
        column_items = torch.cat([items, bank.items])
    logits = rows @ nn.functional.normalize(columns, dim=1).T / temperature
    logits = logits.masked_fill(items[:, None] == column_items[None, :], _NEVER)
    negatives = logits.topk(min(hardest, logits.shape[1]), dim=1).values
    chosen = torch.cat([positives / temperature, negatives], dim=1)
    first_column = torch.zeros(len(rows), dtype=torch.long, device=rows.device)
    return nn.functional.cross_entropy(chosen, first_column)
