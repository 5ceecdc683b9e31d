"""Term: one published idea of a loss, as a pure function with its own parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from hotfill.errors import ShapeError
from hotfill.lab.losses.maps.base import Map
from hotfill.lab.losses.pairs import Pairs
from hotfill.lab.losses.reference import References
from hotfill.lab.losses.value import Value


class Term(nn.Module, ABC):
    """A loss over pairs, anchors and a map between the spaces.

    Calling it changes nothing: no logging, no optimiser, no running statistics. It sees one batch;
    in distributed training gather the batch before (gathered embeddings carry no gradient).

    needs: what a batch must have for this Term to do anything: "old", "label".
    """

    needs: ClassVar[frozenset[str]]

    @abstractmethod
    def forward(self, pairs: Pairs, references: References, map_: Map, progress: float) -> Value:
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
