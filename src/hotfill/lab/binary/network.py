"""The network of a binary encoder, its losses, and the slow copy that fills their queue.

The encoder's networks in torch: the recurrent forward pass with straight-through signs.

The pass is that of `recurrent`, which applies what `export` gives. BEBR, method notes 1.2 (read in
the authors' code): each map is Linear, BatchNorm, ReLU, Linear, with biases, and none is shared.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from hotfill.binary.mlp import Mlp
from hotfill.binary.recurrent import Networks, Recurrent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.binary.codes import CodeFormat


class StraightThroughSign(torch.autograd.Function):
    """Forward +1 for x > 0, else -1; backward the identity inside [-1, 1], zero outside."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        """Take the sign."""
        ctx.save_for_backward(values)
        return torch.where(values > 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Let the gradient through where the value is near the threshold."""
        (values,) = ctx.saved_tensors
        passed: Tensor = gradient * (values.abs() <= 1)
        return passed


def sign(values: Tensor) -> Tensor:
    """Take the sign with a straight-through gradient."""
    signs: Tensor = StraightThroughSign.apply(values)  # type: ignore[no-untyped-call]
    return signs


class CodeNetwork(nn.Module):
    """Unit rows (n, inputs) to codes (n, code dimension): float sums of weighted signs.

    anchor: see `recurrent`; it is trained too. With an anchor the last layers start at zero, so
    that training starts from the grid; without one they start by Xavier's rule, as in the paper.
    hidden: width of the hidden layers. decoder: float32 (inputs, code dimension), trained by
    `similarity_loss` alone; None where that is not used.
    """

    def __init__(
        self,
        code_format: CodeFormat,
        inputs: int,
        hidden: int,
        anchor: NDArray[np.float32] | None,
        decoder: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        self.code_format = code_format
        self.anchor = None if anchor is None else nn.Parameter(torch.from_numpy(anchor.copy()))
        self.decoder = None if decoder is None else nn.Parameter(torch.from_numpy(decoder.copy()))
        outputs, loops = code_format.dimension, range(code_format.loops)
        silent = anchor is not None
        self.first = _block(inputs, hidden, outputs, silent=silent)
        self.back = nn.ModuleList(_block(outputs, hidden, inputs, silent=False) for _ in loops)
        self.residual = nn.ModuleList(_block(inputs, hidden, outputs, silent=silent) for _ in loops)

    def forward(self, rows: Tensor) -> Tensor:
        """Binarise, with gradients."""
        base = None if self.anchor is None else rows @ self.anchor.T
        drive = self.first(rows) if base is None else self.first(rows) + base
        code = sign(drive)
        for loop, (back, residual) in enumerate(zip(self.back, self.residual, strict=True)):
            rebuilt = nn.functional.normalize(back(code), dim=1)
            drive = residual(rows - rebuilt)
            if base is not None:
                drive = drive + base - code
            code = code + 2.0 ** -(loop + 1) * sign(drive)
        return code

    def export_decoder(self) -> NDArray[np.float32] | None:
        """Copy the decoder, if it was trained."""
        return None if self.decoder is None else _array(self.decoder)

    def export(self) -> Recurrent:
        """Copy the weights for numpy, batch normalisation folded in."""
        anchor = None if self.anchor is None else _array(self.anchor)
        networks = Networks(
            _folded(self.first),
            tuple(_folded(block) for block in self.back),
            tuple(_folded(block) for block in self.residual),
        )
        return Recurrent(self.code_format, anchor, networks)


def _block(inputs: int, hidden: int, outputs: int, *, silent: bool) -> nn.Sequential:
    inner, outer = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
    for layer in (inner, outer):
        nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    if silent:
        nn.init.zeros_(outer.weight)
    return nn.Sequential(inner, nn.BatchNorm1d(hidden), nn.ReLU(), outer)


def _folded(block: Any) -> Mlp:
    inner, norm, _, outer = block
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = (inner.bias - norm.running_mean) * scale + norm.bias
    return Mlp(
        _array(inner.weight * scale[:, None]),
        _array(bias),
        _array(outer.weight),
        _array(outer.bias),
    )


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)


# The training losses: two-way cross-entropy against the hardest negatives, and similarity.
# BEBR, method notes 1.3 (read in the authors' code). For pair i with codes a_i and c_i:
#     loss_i = CE([A_ii, top-K of A_i.], 0) + CE([C_ii, top-K of C_i.], 0)
#     A_ij = cos(a_i, c_j) / temperature,    C_ij = cos(c_i, a_j) / temperature
# Columns of the same item are neither positive nor negative. Codes waiting in a queue are more
# columns; how they join is derived, since the release lacks that function.

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


# A slowly moving copy of the network, and the queue of the codes it made.


class MomentumCopy:
    """An exponential moving average of a network. share: kept of the old value at each step."""

    def __init__(self, network: CodeNetwork, share: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._share = share

    @torch.no_grad()
    def follow(self, network: CodeNetwork) -> None:
        """Move a little towards the network; counters and statistics are copied."""
        for mine, theirs in zip(self.network.parameters(), network.parameters(), strict=True):
            mine.data.lerp_(theirs.data, 1 - self._share)
        for count, other in zip(self.network.buffers(), network.buffers(), strict=True):
            count.copy_(other)


class CodeQueue:
    """The last codes made, first in first out. Emptied at each epoch, as in the release."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._codes: list[Tensor] = []
        self._items: list[Tensor] = []

    def put(self, codes: Tensor, items: Tensor) -> None:
        """Add codes (n, dimension) of items (n,), and drop the oldest batches beyond the size."""
        self._codes.append(codes.detach())
        self._items.append(items)
        while sum(map(len, self._codes)) > self._size:
            del self._codes[0], self._items[0]

    def bank(self) -> Bank | None:
        """All codes waiting; None when there are none."""
        if not self._codes:
            return None
        return Bank(torch.cat(self._codes), torch.cat(self._items))
