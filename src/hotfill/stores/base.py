"""The Gallery interface: what hotfill needs of a vector store, and what it promises in return.

Words. A *space* is what a `ModelId` names. A gallery holds vectors of one or more spaces, oldest
first. Every item is *searched* in exactly one of them: that space is the item's side. Its vectors
of other spaces are *retired*: kept for the way back, never searched.

Promises that every store keeps, and that `tests/conformance` checks:

1. A search of several sides misses no item and returns none twice, whatever moves during it.
2. `move` and `upsert` are durable when they return, whole or not at all per item.
3. `move` leaves an item alone whose content version is not the expected one: a live write or a
   delete always beats a backfill batch in flight. Versions are never used twice, not even by an
   item that was deleted and written again.
4. Bad input is refused before anything is written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from hotfill.types import ModelId, Vectors

Scalar: TypeAlias = str | int | float | bool
Metadata: TypeAlias = Mapping[str, Scalar]
"""What a user keeps with a vector and filters by. Keys must not begin with an underscore."""


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number, both inclusive; None leaves that end open."""

    at_least: float | None = None
    at_most: float | None = None


Where: TypeAlias = Mapping[str, Scalar | Sequence[Scalar] | Range]
"""A filter: every key must match its value, one of its values, or its range.

Texts, numbers and booleans never equal each other; 3 and 3.0 do; an absent key matches nothing.
"""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do beyond the interface; the engine adapts or refuses early.

    atomic_move: a whole batch moves in one transaction, not only item by item.
    snapshot_reads: one search over several sides sees one moment by itself.
    many_processes: several processes may open the store at once.
    optimise_while_moving: `optimise` may be called during a backfill. False where the indexes that
        it builds make moves slow: then it is called once, at the end.
    """

    atomic_move: bool
    snapshot_reads: bool
    many_processes: bool
    optimise_while_moving: bool = True


@dataclass(frozen=True, slots=True)
class ItemState:
    """What a store knows of one item, without its vectors.

    version: changes with every write of the content; a move keeps it.
    space: where the item is searched.
    origin: fingerprint of what made the searched vector: the model's, or a transform's.
    """

    item_id: str
    version: int
    space: ModelId
    origin: str
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Page:
    """Some items of one side, in the store's own stable order.

    versions: int64 (n,). origins: fingerprints (n,). cursor: give it back to `scan` to go on; None
    at the end.
    """

    item_ids: tuple[str, ...]
    versions: NDArray[np.int64]
    origins: tuple[str, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """Vectors of some items in one space, searched or kept.

    item_ids: those asked for that have one, in the order asked. versions: int64 (n,).
    vectors: float32 (n, dimension).
    """

    item_ids: tuple[str, ...]
    versions: NDArray[np.int64]
    vectors: Vectors

    @classmethod
    def of(cls, rows: Sequence[tuple[str, int, NDArray[np.floating]]], dimension: int) -> Found:
        """Make one of the id, version and vector of each item."""
        vectors = np.array([vector for _, _, vector in rows], dtype=np.float32)
        return cls(
            item_ids=tuple(item_id for item_id, _, _ in rows),
            versions=np.array([version for _, version, _ in rows], dtype=np.int64),
            vectors=vectors.reshape(-1, dimension),
        )


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search of one side found, a list per query, best first.

    scores: float32, higher is better: cosine, inner product or negative Euclidean distance,
    as the space's metric says. Lists are shorter than k where the side holds fewer items.
    """

    item_ids: tuple[tuple[str, ...], ...]
    scores: tuple[NDArray[np.float32], ...]


class Gallery(ABC):
    """A set of items in a vector store. Abstract: see `hotfill.stores` for real ones.

    All methods may be called from several threads at once.
    """

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this store can do beyond the interface."""

    @property
    @abstractmethod
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces that the store is stamped with, oldest first. Empty when unstamped."""

    @abstractmethod
    def add_space(self, model: ModelId) -> None:
        """Make room for vectors of a model and stamp the store with it. Idempotent.

        Raises StoreError when the store cannot hold such vectors.
        """

    @abstractmethod
    def drop_space(self, model: ModelId) -> None:
        """Remove a space with all its kept vectors. No way back. Idempotent.

        Raises StoreError while any item is still searched there: items are never lost this way.
        """

    @abstractmethod
    def upsert(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        *,
        space: ModelId,
        metadata: Sequence[Metadata] | None = None,
        retired: Mapping[ModelId, Vectors] | None = None,
    ) -> NDArray[np.int64]:
        """Write items with new content. They are searched in `space` from now on.

        vectors: float32 (n, space.dimension), made by the model of `space`.
        metadata: replaces what was there; None keeps it.
        retired: vectors of the same content in other spaces, for the way back. Retired vectors
            of the earlier content are removed.
        Returns the new content versions, int64 (n,).
        Raises DuplicateItemError, ShapeError, VectorError, ModelMismatchError (unknown space).
        """

    @abstractmethod
    def set_metadata(self, item_ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist; others are ignored. Versions stay."""

    @abstractmethod
    def delete(self, item_ids: Sequence[str]) -> int:
        """Remove items from every space. Returns how many were there."""

    @abstractmethod
    def move(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        *,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str | None = None,
    ) -> NDArray[np.bool_]:
        """Let items be searched in `space` by these vectors; their earlier vector is retired.

        vectors: float32 (n, space.dimension) of the content at `expected_versions`, int64 (n,).
        origin: what made the vectors; the model of `space` unless a transform's fingerprint is
            given. A vector that a transform made never replaces one that the model made.
        Returns bool (n,): False where the item is gone, was written since, or is searched in
        `space` by the model's own vector and a transform's was offered. Idempotent.
        Raises as `upsert`.
        """

    @abstractmethod
    def search(
        self, queries: Mapping[ModelId, Vectors], k: int, *, where: Where | None = None
    ) -> dict[ModelId, Hits]:
        """Find the k best items of each side asked for.

        queries: per space float32 (q, dimension), the same number of rows for each.
        Raises ModelMismatchError for an unknown space, ShapeError, VectorError, InputError (k < 1).

        An item that moves between two sides during the call is in at least one result; where it
        is in both, the newer space counts (`hotfill.ranking` drops the other).
        """

    @abstractmethod
    def get(self, item_ids: Sequence[str]) -> list[ItemState | None]:
        """Read the state of items, in the order asked; None where an item does not exist."""

    @abstractmethod
    def vectors(self, item_ids: Sequence[str], space: ModelId) -> Found:
        """Read vectors of items in a space, searched or retired; items without one are left out.

        Those of a cosine space come back with unit length, however they were given.
        """

    @abstractmethod
    def scan(self, space: ModelId, *, after: str | None = None, limit: int = 1000) -> Page:
        """List items searched in `space`, page by page, each once.

        after: the cursor of the page before. An item that stays on its side for the whole walk is
        listed; one that comes or goes during the walk may or may not be.
        """

    @abstractmethod
    def count(self, space: ModelId, *, origin: str | None = None) -> int:
        """Count the items searched in `space`; with `origin` only those whose vector it made."""

    def __len__(self) -> int:
        return sum(self.count(space) for space in self.spaces)

    def vector_bytes(self, space: ModelId) -> int:
        """Tell what one vector of a space takes, in bytes, without index and metadata."""
        return 4 * space.dimension  # float32

    @abstractmethod
    def optimise(self) -> None:
        """Let the store tidy up (build indexes, compact). Searches and writes go on."""

    @abstractmethod
    def close(self) -> None:
        """Release the store. Idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
