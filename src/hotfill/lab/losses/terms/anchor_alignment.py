"""LCE's alignment: the new head's rows equal the old anchors."""

from __future__ import annotations

from typing import ClassVar, final

from torch.nn.functional import normalize

from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch
from hotfill.lab.losses.references import ReferencePair
from hotfill.lab.losses.term import Term, Value, check_same_space, nothing


@final
class AnchorAlignment(Term):
    """Mean over classes and coordinates of (unit new head row - unit old anchor) squared.

    LCE (Meng et al., ICCV 2021; read in code). Every class that has an anchor takes part, whatever
    is in the batch; the batch is not read. The map carries the new head's rows to the old space.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    def forward(
        self, pairs: PairedBatch, references: ReferencePair, map_: SpaceMap, progress: float
    ) -> Value:
        """Compute the loss; `active` counts classes. See Term."""
        head, reference = references.of("new"), references.of("old")
        rows = map_(head.vectors)
        check_same_space(rows, reference.vectors)
        known = min(head.labels, reference.labels)
        mine, theirs = head.rows[:known], reference.rows[:known]
        both = (mine >= 0) & (theirs >= 0) & reference.valid[theirs.clamp(min=0)]
        if not bool(both.any()):
            return nothing(rows, pairs.new)
        difference = normalize(rows[mine[both]]) - normalize(reference.vectors[theirs[both]])
        return Value(difference.square().mean(), int(both.sum()))
