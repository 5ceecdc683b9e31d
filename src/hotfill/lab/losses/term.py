"""Term: one published idea of a loss, as a pure function, and the Value it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from hotfill.errors import ShapeError
from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch
from hotfill.lab.losses.references import ReferencePair


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


class Term(nn.Module, ABC):
    """A loss over pairs, anchors and a map between the spaces.

    Calling it changes nothing: no logging, no optimiser, no running statistics. It sees one batch;
    in distributed training gather the batch before (gathered embeddings carry no gradient).

    needs: what a batch must have for this Term to do anything: "old", "label".
    """

    needs: ClassVar[frozenset[str]]

    @abstractmethod
    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss.

        map_: carries the embeddings that ask into the space of those that answer.
        progress: share of the training done, 0 to 1; the only clock.
        Returns zero, attached to the graph, where nothing in the batch takes part.
        Raises InputError when the batch lacks what the Term needs, ShapeError when the spaces'
        dimensions do not meet.
        """


def check_same_space(asking: Tensor, answering: Tensor) -> None:
    """Raise ShapeError unless both have the same dimension."""
    if asking.shape[1] != answering.shape[1]:
        raise ShapeError(
            f"embeddings of dimension {asking.shape[1]} meet embeddings of dimension "
            f"{answering.shape[1]}: give the recipe a map (Slice, Pad, Orthogonal, Residual) "
            "between the spaces"
        )
