"""The vectors that items' old models made themselves, in a chain of upgrades.

An unfinished upgrade by `prefill` leaves vectors in its new space that it imputed from older ones.
When a third model takes over, these are no model's own: nothing is fitted on them, nothing is
imputed from them, and on the way back nobody must take them for the model's. Stores keep no origin
of a kept vector, so it is found by making the imputed vector again from the older one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from hotfill.stores.base import Found
from hotfill.upgrade.order import pages_of, reservoir
from hotfill.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Gallery, ItemState
    from hotfill.types import ModelId, Transform, Vectors
    from hotfill.upgrade.order import Told

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


# Items that stayed imputed before this upgrade --------------------------------------------------

NotedOrigins: TypeAlias = "Callable[[Sequence[str]], Mapping[str, tuple[int, str]]]"
"""Reads what made old vectors that no model made: content version and origin, by item id."""


def count_imputed(gallery: Gallery, model: ModelId) -> int:
    """Count the items found in a model's space by a vector that the model did not make."""
    return gallery.count(model) - gallery.count(model, origin=model.fingerprint)


@dataclass(slots=True)
class OwnItems:
    """The items of a gallery with a vector that a model made itself, searched or kept.

    Vectors that stayed imputed stand in the model's space as well: nothing is fitted on them, and
    nothing is measured by them.
    noted: the origins of kept vectors, of which stores know none. imputed: how many items the last
    `draw` left out.
    """

    gallery: Gallery
    model: ModelId
    noted: NotedOrigins = lambda item_ids: {}
    imputed: int = 0

    def draw(self, size: int, seed: int, told: Told = lambda done: None) -> list[str]:
        """Draw up to `size` evenly, in one walk over all sides. told: see `sample_ids`."""
        self.imputed = 0
        return reservoir(self._walk(told), size, seed)

    def of(self, states: Iterable[ItemState]) -> set[str]:
        """Tell which of some items have one."""
        there = list(states)
        versions = self._noted([each.item_id for each in there if each.space != self.model])
        return {
            each.item_id
            for each in there
            if (
                each.origin == self.model.fingerprint
                if each.space == self.model
                else versions.get(each.item_id) != each.version
            )
        }

    def _walk(self, told: Told) -> Iterator[str]:
        looked_at = 0
        for space in self.gallery.spaces:
            for page in pages_of(self.gallery, space):
                if space == self.model:
                    own = [origin == space.fingerprint for origin in page.origins]
                else:
                    versions = self._noted(page.item_ids)
                    own = [
                        versions.get(item_id) != version
                        for item_id, version in zip(
                            page.item_ids, page.versions.tolist(), strict=True
                        )
                    ]
                self.imputed += own.count(False)
                yield from compress(page.item_ids, own)
                looked_at += len(page.item_ids)
                told(looked_at)

    def _noted(self, item_ids: Sequence[str]) -> dict[str, int]:
        """Read the content versions whose kept vector is no model's own."""
        if not item_ids:
            return {}
        return {item_id: version for item_id, (version, _) in self.noted(item_ids).items()}
