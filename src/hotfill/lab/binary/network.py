"""The encoder's networks in torch: the recurrent forward pass with straight-through signs.

The pass is that of `recurrent`, which applies what `export` gives. BEBR, method notes 1.2 (read in
the authors' code): each map is Linear, BatchNorm, ReLU, Linear, with biases, and none is shared.
"""

from __future__ import annotations

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
