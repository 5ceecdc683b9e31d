"""What searches need of a fit once it is gone: kept with the store whose vectors it imputed.

A gallery in which items stay imputed is searched for years, by processes that know nothing of the
upgrade that made it so. A record holds what puts such hits on the scale of the model's own, and no
more: no content, no item's id, none of the map. 500 reference items of 768 dimensions are 3 MB.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final, get_args

from hotfill.errors import HotfillError, InputError
from hotfill.files import read_stamped, stamped
from hotfill.ranking.common_scale import ReferenceItems
from hotfill.ranking.one_space import OneSpace, RankingName
from hotfill.types import ModelId
from hotfill.vectors import as_compared

if TYPE_CHECKING:
    import numpy as np

_KEY = "hotfill.origin"


def origin_over(up: str, before: str) -> str:
    """Return the origin of vectors that a map makes of imputed ones: a map of a map.

    up: fingerprint of the map. before: the origin of the vectors that it takes.
    """
    return hashlib.sha256(f"{up} over {before}".encode()).hexdigest()[: len(up)]


@final
@dataclass(frozen=True, slots=True, eq=False)
class KeptOrigin:
    """One origin of imputed vectors.

    origin: its fingerprint, which the vectors are stored with. old_model: whose vectors were taken.
    index_model: the space that they stand in. fit: its number in the upgrade that made it.
    ranking: how the index is ranked. overfetch: see `OneSpace`. references: None where a given map,
    or a compatible model, was not measured: then the plain order is the ranking.
    over: what had made the vectors that were taken, in words, where that was no model. why: which
    map was taken for them, and why, in words.
    """

    origin: str
    old_model: ModelId
    index_model: ModelId
    fit: int
    ranking: RankingName = "raw"
    overfetch: int = 1
    references: ReferenceItems | None = None
    over: str = ""
    why: str = ""

    @classmethod
    def of(cls, one: OneSpace, fit: int, ranking: RankingName) -> KeptOrigin:
        """Take from a fit what searches need."""
        return cls(
            one.origin,
            one.old_model,
            one.index_model,
            fit,
            ranking,
            one.overfetch,
            one.references,
        )

    def bent(self) -> KeptOrigin:
        """Return the same for a store that keeps all vectors at one length, since a while or ever.

        Vectors were placed by their length, so that such an index is right on the scale only.
        """
        if self.references is None:
            return self
        imputed = as_compared(self.references.imputed, self.index_model)
        both = ReferenceItems(self.references.own, imputed)
        return replace(self, ranking="calibrated", references=both)

    def __str__(self) -> str:
        vectors = f"vectors of {self.old_model} that were {self.over}" if self.over else ""
        return f"imputed from {vectors or self.old_model} by fit {self.fit}"

    def to_bytes(self) -> bytes:
        """Write as safetensors with a stamp."""
        stamp = {
            "origin": self.origin,
            "old_model": self.old_model.to_dict(),
            "index_model": self.index_model.to_dict(),
            "fit": self.fit,
            "ranking": self.ranking,
            "overfetch": self.overfetch,
            "over": self.over,
            "why": self.why,
        }
        arrays: dict[str, np.ndarray] = {}
        if self.references is not None:
            arrays = {"own": self.references.own, "imputed": self.references.imputed}
        return stamped(_KEY, stamp, arrays)

    @classmethod
    def from_bytes(cls, record: bytes, name: str) -> KeptOrigin:
        """Read what `to_bytes` wrote. name: of the record, which must be its origin.

        Raises InputError (damaged, of another origin).
        """
        what = f"the record of origin {name}"
        stamp, arrays = read_stamped(record, _KEY, what)
        try:
            if stamp["origin"] != name or stamp["ranking"] not in get_args(RankingName):
                raise InputError(f"{what} says that it is of {stamp['origin']}: remove it")
            both = (arrays["own"], arrays["imputed"]) if arrays else None
            return cls(
                name,
                ModelId.from_dict(stamp["old_model"]),
                ModelId.from_dict(stamp["index_model"]),
                int(stamp["fit"]),
                stamp["ranking"],
                int(stamp["overfetch"]),
                None if both is None else ReferenceItems(*both),
                str(stamp["over"]),
                str(stamp["why"]),
            )
        except (KeyError, TypeError, ValueError, HotfillError) as error:
            raise InputError(f"{what} is damaged: {error}") from error
