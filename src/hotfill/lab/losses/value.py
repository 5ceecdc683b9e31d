"""Value: what a Term gives back, and the one way losses per item become one number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Value:
    """A loss and what is behind it.

    loss: scalar, always attached to the graph.
    active: how many items (for an alignment of classes: how many classes) contributed. Means are
        taken over these, so a small number means few items pull with the Term's full weight.
    parts: by name, the values that were added up, before their weights.
    """

    loss: Tensor
    active: int
    parts: Mapping[str, Value] = field(default_factory=dict)


def nothing(*graph: Tensor) -> Value:
    """Zero, attached to the graph, so that `backward` works and gives zero gradients."""
    return Value(sum((tensor.sum() * 0.0 for tensor in graph[1:]), graph[0].sum() * 0.0), 0)


def weighted_mean(losses: Tensor, weight: Tensor | None) -> Value:
    """The mean of losses (n,) per active item, n >= 1, weighted by weight (n,) >= 0 if given."""
    if weight is None:
        return Value(losses.mean(), len(losses))
    total = weight.sum()
    if not bool(total > 0):
        return nothing(losses)
    return Value((losses * weight).sum() / total, len(losses))
