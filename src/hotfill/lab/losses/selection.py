"""Which items of a batch may stand against which."""

from __future__ import annotations

import torch
from torch import Tensor

from hotfill.lab.losses.pairs import Pairs


def opposites(pairs: Pairs) -> Tensor:
    """(n, n) bool: True where item j is known not to belong with item i.

    With labels: other classes. An item without a label belongs nowhere for certain, so it is
    nobody's opposite and has none. Without any labels: every other item.
    """
    count = len(pairs)
    if pairs.label is None:
        return ~torch.eye(count, dtype=torch.bool, device=pairs.new.device)
    known = pairs.label >= 0
    differ = pairs.label.unsqueeze(1) != pairs.label.unsqueeze(0)
    return differ & known.unsqueeze(1) & known.unsqueeze(0)


def companions(pairs: Pairs) -> Tensor:
    """(n, n) bool: True where item j has the class of item i, or is item i itself."""
    itself = torch.eye(len(pairs), dtype=torch.bool, device=pairs.new.device)
    if pairs.label is None:
        return itself
    known = pairs.label >= 0
    return itself | ((pairs.label.unsqueeze(1) == pairs.label.unsqueeze(0)) & known.unsqueeze(1))
