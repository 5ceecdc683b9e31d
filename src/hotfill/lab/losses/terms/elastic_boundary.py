"""AdvBCT's elastic point-to-set boundary."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from hotfill.errors import ConfigError, InputError
from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, check_same_space, nothing, weighted_mean


@final
class ElasticBoundary(Term):
    """Stay within a learnt radius of the class's anchor.

    AdvBCT (Pan et al., CVPR 2023; read in code). With r the class's old radius, T the threshold and
    a learnt w per anchor, the elastic radius is r + |r - T| sigmoid(w) if r < T, else
    r - |r - T| sigmoid(w): somewhere between r and T. Loss: how far a unit new embedding lies
    outside, mean over those outside only. The one gradient on w widens the ball, so it is a learnt
    slack, not a learnt margin.

    anchors: how many anchors the reference has. threshold: T, a distance of unit vectors, 0 to 2.
    Only classes with at least two old members take part. Raises ConfigError.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"label"})

    def __init__(self, anchors: int, *, threshold: float = 1.0) -> None:
        super().__init__()
        if not 0 <= threshold <= 2:
            raise ConfigError(f"expected a threshold from 0 to 2, got {threshold}")
        self.threshold = threshold
        self.elastic = nn.Parameter(torch.empty(anchors).uniform_(-1.0, 1.0))

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; see Term. Raises InputError when anchors have no radius."""
        reference = references.of("old")
        radius, count = reference.radius, reference.count
        if radius is None or count is None:
            raise InputError("the boundary needs anchors with radii: build them by from_means")
        if len(reference.vectors) != len(self.elastic):
            raise InputError(
                f"the boundary was built for {len(self.elastic)} anchors, "
                f"the reference has {len(reference.vectors)}"
            )
        asking = map_(pairs.new)
        check_same_space(asking, reference.vectors)
        row = reference.answering(pairs)
        active = (row >= 0) & (count[row.clamp(min=0)] >= 2)
        row = row[active]
        distance = (normalize(asking[active]) - reference.vectors[row]).norm(dim=1)
        excess = distance - self._elastic(radius)[row]
        outside = excess > 0
        if not bool(outside.any()):
            return nothing(asking, self.elastic)
        weight = None if pairs.weight is None else pairs.weight[active][outside]
        return weighted_mean(excess[outside], weight)

    def _elastic(self, radius: Tensor) -> Tensor:
        # r < T grows towards T and r > T shrinks towards it: both are r + (T - r) sigmoid(w).
        return radius + (self.threshold - radius) * self.elastic.sigmoid()
