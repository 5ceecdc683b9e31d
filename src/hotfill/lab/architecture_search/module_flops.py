"""What any network costs, counted while it runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def module_flops(network: nn.Module, *, channels: int, side: int) -> int:
    """Multiply-adds of one picture through convolutions and linear layers, as `flops` counts.

    network: (1, channels, side, side) float to embeddings; its mode is put back afterwards.
    """
    total = 0

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += module.weight.numel() * output.shape[2] * output.shape[3]
        elif isinstance(module, nn.Linear):
            total += module.weight.numel()

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    mode = network.training
    device = next(network.parameters()).device
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, channels, side, side, device=device))
    finally:
        network.train(mode)
        for hook in hooks:
            hook.remove()
    return total
