"""Batch statistics of a network whose weights were trained on other paths."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hotfill.errors import InputError

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> int:
    """Set the running statistics of every batch normalisation to the mean over some batches.

    Weights stay unchanged, and so does the network's mode. Batches come from the *training* set,
    without labels; the reference search code takes 200 batches of 128. Skipping this is the usual
    reason for a search that finds nothing.
    Returns how many batches there were. Raises InputError when there are none.
    """
    norms = [module for module in network.modules() if isinstance(module, _NORMS)]
    modes = [(module, module.training) for module in network.modules()]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the plain mean over all batches
        norm.train()
    count = 0
    with torch.no_grad():
        for batch in batches:
            network(batch)
            count += 1
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, mode in modes:
        module.training = mode
    if not count and norms:
        raise InputError("batch statistics: expected at least one batch, got none")
    return count
