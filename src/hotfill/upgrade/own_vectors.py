"""The vectors that items' old models made themselves, in a chain of upgrades.

An unfinished upgrade by `prefill` leaves vectors in its new space that it imputed from older ones.
When a third model takes over, these are no model's own: nothing is fitted on them, nothing is
imputed from them, and on the way back nobody must take them for the model's. Stores keep no origin
of a kept vector, so it is found by making the imputed vector again from the older one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hotfill.stores.base import Found
from hotfill.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Gallery
    from hotfill.types import ModelId, Transform, Vectors

_SAME_FROM = 0.999  # cosine; half precision stays above it


@dataclass(frozen=True, slots=True)
class OwnVectors:
    """Reads old vectors without those that an earlier upgrade imputed.

    old_models: oldest first. imputations: the maps by which the upgrade before imputed; none where
    it did not. A model's own vector that such a map met to a thousandth counts as imputed, too:
    then the older vector says the same.
    """

    gallery: Gallery
    old_models: tuple[ModelId, ...]
    imputations: tuple[Transform, ...] = ()

    def read(self, item_ids: Sequence[str], model: ModelId) -> Found:
        """Read own vectors of one model, searched or kept; items without one are left out."""
        found = self.gallery.vectors(item_ids, model)
        for up in self.imputations:
            if up.target == model and len(found.item_ids):
                own = ~self._made_by(up, found)
                rows = np.flatnonzero(own)
                found = Found(
                    tuple(found.item_ids[row] for row in rows),
                    found.versions[rows],
                    found.vectors[rows],
                )
        return found

    def newest(self, item_ids: Sequence[str]) -> dict[str, tuple[ModelId, Vectors]]:
        """Read for each item its newest usable own vector and the model that made it."""
        newest: dict[str, tuple[ModelId, Vectors]] = {}
        for model in reversed(self.old_models):
            left = [item_id for item_id in item_ids if item_id not in newest]
            if not left:
                break
            found = self.read(left, model)
            usable = np.isfinite(found.vectors).all(axis=1) & found.vectors.any(axis=1)
            for row in np.flatnonzero(usable):
                newest[found.item_ids[row]] = (model, found.vectors[row])
        return newest

    def _made_by(self, up: Transform, found: Found) -> NDArray[np.bool_]:
        """Tell which vectors a map has made from the items' older ones."""
        older = self.gallery.vectors(found.item_ids, up.source)
        row_of = {item_id: row for row, item_id in enumerate(found.item_ids)}
        imputed = np.zeros(len(found.item_ids), dtype=np.bool_)
        usable = np.isfinite(older.vectors).all(axis=1) & older.vectors.any(axis=1)
        rows = np.flatnonzero(usable)
        if len(rows):
            again = self.gallery.kept_as(up(older.vectors[rows]), up.target)
            here = np.array([row_of[older.item_ids[row]] for row in rows])
            cosines = np.sum(unit(again) * unit(found.vectors[here]), axis=1)
            imputed[here] = cosines >= _SAME_FROM
        return imputed
