"""The origins of a gallery's vectors: the models themselves, and fits that are long gone.

What searches need of a fit whose vectors stay is kept with the store, so that a copy of the store
is searched as well as the store. Where a store has no place for it, it is kept next to the folders
of its upgrades.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hotfill.ranking.kept_origin import KeptOrigin
from hotfill.stores.origin_files import OriginFiles

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, MutableMapping
    from pathlib import Path

    from hotfill.ranking import Fit
    from hotfill.ranking.common_scale import ReferenceItems
    from hotfill.ranking.one_space import RankingName
    from hotfill.stores.base import Gallery
    from hotfill.types import ModelId


@dataclass(frozen=True, slots=True, eq=False)
class MadeOver:
    """What a map makes of vectors that were imputed before.

    words: what had imputed them. references: of such items; None where none are known.
    overfetch: see `OneSpace`; None for that of the map of the model's own vectors.
    why: which map it is, and why, in words.
    """

    words: str
    references: ReferenceItems | None
    overfetch: int | None = None
    why: str = ""


class Origins:
    """Records of what imputed a gallery's vectors.

    folder: of an upgrade; next to it records are kept where the store has no place.
    """

    def __init__(self, gallery: Gallery, folder: Path) -> None:
        self._gallery = gallery
        within = gallery.origins
        self._are_within = within is not None
        self._records: MutableMapping[str, bytes] = (
            OriginFiles(folder.parent / "origins") if within is None else within
        )

    def of(self, space: ModelId) -> list[KeptOrigin]:
        """Read the origins of imputed vectors in a space, oldest fit first.

        Raises InputError where a record is damaged.
        """
        found = [KeptOrigin.from_bytes(self._records[name], name) for name in self._records]
        here = [each for each in found if each.index_model == space]
        return sorted(here, key=lambda each: (each.fit, each.origin))

    def keep(
        self,
        fit: Fit,
        index_model: ModelId,
        number: int,
        ranking: RankingName,
        over: Mapping[str, MadeOver],
    ) -> None:
        """Keep what searches need of a fit, before a vector of it is written.

        over: what its newest map makes of imputed vectors, by the origin that it gets. Where it has
            no references of its own, those of the map have to do.
        """
        if not fit.one_spaces:
            made = [
                KeptOrigin(up.fingerprint, old_model, index_model, number)
                for old_model, up in fit.ups.items()
            ]
        else:
            made = [KeptOrigin.of(one, number, ranking) for one in fit.one_spaces]
        newest = made[-1]
        for name, before in over.items():
            references = newest.references and (before.references or newest.references)
            made.append(
                replace(
                    newest,
                    origin=name,
                    over=before.words,
                    references=references,
                    overfetch=before.overfetch or newest.overfetch,
                    why=before.why,
                )
            )
        for each in made:
            self._records[each.origin] = each.to_bytes()

    def tidy(self, space: ModelId, known: Collection[str]) -> None:
        """Remove records of which a space has no vector any more.

        known: the origins of this upgrade; where records are not within the store, others may be
        of another gallery.
        """
        there = space in self._gallery.spaces
        for each in self.of(space):
            ours = self._are_within or each.origin in known
            if ours and not (there and self._gallery.count(space, origin=each.origin)):
                del self._records[each.origin]
