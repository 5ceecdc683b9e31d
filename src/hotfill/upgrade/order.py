"""Which items are redone first. An order gives each item a rank; the lowest goes first.

Orders read only what is stored already (ids, metadata, old vectors): one that looked at the new
embeddings would need what it is there to schedule.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hotfill.stores.base import Gallery, Page
    from hotfill.types import ModelId, Vectors

    Ranks = NDArray[np.float64]


class Order(Protocol):
    """Ranks the items of a page."""

    def __call__(self, gallery: Gallery, page: Page, /) -> Ranks:
        """Return float64 (n,), lowest first."""
        ...


@dataclass(frozen=True, slots=True)
class RandomOrder:
    """A permutation that depends on the seed and the ids only: the same in every run."""

    seed: int

    def __call__(self, gallery: Gallery, page: Page) -> Ranks:
        """Hash each id."""
        salt = self.seed.to_bytes(8, "little", signed=True)
        digests = b"".join(
            hashlib.blake2b(item_id.encode(), digest_size=8, salt=salt).digest()
            for item_id in page.item_ids
        )
        return np.frombuffer(digests, dtype="<u8").astype(np.float64)


@dataclass(frozen=True, slots=True)
class PriorityOrder:
    """By a number in the metadata, highest first; items without one come last."""

    key: str

    def __call__(self, gallery: Gallery, page: Page) -> Ranks:
        """Read the metadata."""
        values = [
            state.metadata.get(self.key) if state is not None else None
            for state in gallery.get(page.item_ids)
        ]
        return np.array(
            [-float(v) if isinstance(v, int | float) else np.inf for v in values], dtype=np.float64
        )


@dataclass(frozen=True, slots=True)
class UncertainOrder:
    """By what the map between the models is least sure of, most uncertain first.

    uncertainty: takes old vectors (n, dimension), gives (n,), higher is less sure.
    """

    space: ModelId
    uncertainty: Callable[[Vectors], NDArray[np.floating]]

    def __call__(self, gallery: Gallery, page: Page) -> Ranks:
        """Read the old vectors."""
        found = gallery.vectors(page.item_ids, self.space)
        if not found.item_ids:
            return np.zeros(len(page.item_ids))
        rank_of = dict(zip(found.item_ids, -self.uncertainty(found.vectors), strict=True))
        return np.array([rank_of.get(item, 0.0) for item in page.item_ids], dtype=np.float64)


def pages_of(gallery: Gallery, space: ModelId, limit: int = 1000) -> Iterator[Page]:
    """Walk one side of a gallery, page by page."""
    cursor: str | None = None
    while True:
        page = gallery.scan(space, after=cursor, limit=limit)
        if page.item_ids:
            yield page
        cursor = page.cursor
        if cursor is None:
            return
