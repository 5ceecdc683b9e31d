"""LCE's boundary: be at least as near to the anchor as the farthest old member."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch.nn.functional import normalize

from hotfill.errors import InputError
from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, check_same_space, nothing, weighted_mean


@final
class CosineBoundary(Term):
    """max(0, b - cosine(new, anchor)), b = the smallest cosine of an old member of the class.

    LCE (Meng et al., ICCV 2021; read in code, which forgets to normalise the embeddings). The mean
    is over all items whose class has an anchor, inside the boundary or not.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"label"})

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; see Term. Raises InputError when anchors have no min_cosine."""
        reference = references.of("old")
        if reference.min_cosine is None:
            raise InputError("the boundary needs anchors with min_cosine: build them by from_means")
        asking = map_(pairs.new)
        check_same_space(asking, reference.vectors)
        row = reference.answering(pairs)
        active = row >= 0
        if not bool(active.any()):
            return nothing(asking)
        row = row[active]
        cosine = (normalize(asking[active]) * normalize(reference.vectors)[row]).sum(dim=1)
        losses = torch.relu(reference.min_cosine[row] - cosine)
        return weighted_mean(losses, None if pairs.weight is None else pairs.weight[active])
