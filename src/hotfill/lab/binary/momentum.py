"""A slowly moving copy of the network, and the queue of the codes it made."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hotfill.lab.binary.objective import Bank

if TYPE_CHECKING:
    from hotfill.lab.binary.network import CodeNetwork


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
