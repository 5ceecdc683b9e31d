"""What a gallery answers: states, pages, vectors, hits, and what a store can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hotfill.formatting import far
from hotfill.vectors import as_stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.stores.filters import Metadata
    from hotfill.types import ModelId, Vectors


_MEASURED_DIMENSION = 384


@dataclass(frozen=True, slots=True)
class StoreCost:
    """What an upgrade costs a store itself, in microseconds an item; no model is in it.

    imputed, embedded: to write a vector of each kind. indexed: to build the new side's index.
    Measured by benchmarks/million on two cores, with 256 numbers before and 384 after, while the
    gallery was searched and written: a scale to plan by, not a promise.
    """

    imputed: float
    embedded: float
    indexed: float

    def seconds(self, microseconds: float, model: ModelId) -> float:
        """Scale one of them to the vectors of a model, in seconds an item."""
        return microseconds * model.dimension / _MEASURED_DIMENSION / 1e6


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do beyond the interface; the engine adapts or refuses early.

    atomic_move: a whole batch moves in one transaction, not only item by item.
    snapshot_reads: one search over several sides sees one moment by itself.
    many_processes: several processes may open the store at once.
    free_length: a vector that a transform made keeps its length in a cosine space that is made for
        it (`Gallery.add_space`), and is compared by the inner product; without this it is brought
        to unit length like all others.
    most_hits: the most that a search can find for one query; None for any number.
    restricts_writes: the store itself refuses what is written to a side that takes no writes
        (`Gallery.restrict_writes`), from whichever process. One that takes one process at a time
        does without it.
    optimise_while_moving: `optimise` may be called during a backfill. False where the indexes that
        it builds make moves slow: then it is called once, at the end.
    unindexed_bytes: searches stay quick with this many bytes of vectors without an index, and
        `optimise(moving=True)` takes about as long as these need: a backfill calls it whenever as
        much has moved, and waits where the index does not keep up. None where either is not so.
    cost: what an upgrade costs the store itself, where that was measured.
    """

    atomic_move: bool
    snapshot_reads: bool
    many_processes: bool
    optimise_while_moving: bool = True
    unindexed_bytes: int | None = None
    free_length: bool = False
    most_hits: int | None = None
    restricts_writes: bool = False
    cost: StoreCost | None = None


@dataclass(frozen=True, slots=True)
class Building:
    """An index that a store builds in this process. done, total: items in it so far, and in all.

    seconds: since it began.
    """

    done: int
    total: int
    seconds: float

    def __str__(self) -> str:
        """Say how far it is, how quick, and how long it takes yet."""
        return far(self.done, self.total, self.seconds)


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

    def usable(self, space: ModelId) -> Found:
        """Return those of vectors that others stored which hotfill can use.

        Left out are zeros and what is not finite; those of a cosine space get unit length.
        """
        squares = np.einsum("ij,ij->i", self.vectors, self.vectors, dtype=np.float64)
        right = np.isfinite(squares) & (squares > 0)
        if not right.all():
            ids = tuple(item_id for item_id, fine in zip(self.item_ids, right, strict=True) if fine)
            return Found(ids, self.versions[right], as_stored(self.vectors[right], space))
        return Found(self.item_ids, self.versions, as_stored(self.vectors, space))


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search of one side found, a list per query, best first.

    scores: float32, higher is better: cosine, inner product or negative Euclidean distance,
    as the space's metric says. Lists are shorter than k where the side holds fewer items.
    origins: what made each vector, as in `ItemState`; None where that was not asked for and the
    store does not read it anyway.
    """

    item_ids: tuple[tuple[str, ...], ...]
    scores: tuple[NDArray[np.float32], ...]
    origins: tuple[tuple[str, ...], ...] | None = None
