"""What belongs together in a contrast, and which items make up a batch.

`SameLabel` for labelled items, `Related` for query-document pairs or clicks, `Neighbours` for
vectors alone (pseudo-positives).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from hotfill.errors import InputError, ShapeError
from hotfill.lab.training.transforms.loop import class_balanced, grouped
from hotfill.lab.training.transforms.losses import SideMasks

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Rows = NDArray[np.int64]

GROUP = 4
"""Items that a batch takes of each class or neighbourhood: 64 classes x 4 in the method notes."""


class Positives(ABC):
    """A relation among n items. Abstract."""

    @property
    @abstractmethod
    def items(self) -> int:
        """How many items it relates."""

    @abstractmethod
    def batches(self, batch: int, seed: int) -> list[Rows]:
        """Cut one epoch into batches of rows in which anchors have positives."""

    @abstractmethod
    def masks(self, rows: Rows) -> tuple[SideMasks, SideMasks]:
        """Say what counts among some rows on the old and on the new side.

        A row that stands twice in a batch is the anchor itself, not its positive.
        """


@final
class SameLabel(Positives):
    """Positive is what carries the anchor's label; the rest is negative.

    labels: int (n,), at least two kinds and one kind with two items. Batches are balanced: a
    quarter as many classes as items, where there are enough.
    Raises ShapeError, InputError.
    """

    def __init__(self, labels: Any) -> None:
        given = np.asarray(labels)
        if given.ndim != 1 or given.dtype.kind not in "iu":
            raise ShapeError(f"labels: expected integers (n,), got {given.dtype} {given.shape}")
        _, self._labels, counts = np.unique(given, return_inverse=True, return_counts=True)
        if len(counts) < 2 or counts.max() < 2:
            raise InputError(
                "a contrast needs items that share a label and others that do not; got "
                f"{len(given)} items of {len(counts)} labels: use Neighbours where there are none"
            )

    @property
    def items(self) -> int:
        """How many items have a label."""
        return len(self._labels)

    def batches(self, batch: int, seed: int) -> list[Rows]:
        """Draw class-balanced batches."""
        return class_balanced(self._labels, batch, GROUP, seed)

    def masks(self, rows: Rows) -> tuple[SideMasks, SideMasks]:
        """Compare labels."""
        labels = self._labels[rows]
        same = labels[:, None] == labels[None, :]
        itself = rows[:, None] == rows[None, :]
        masks = SideMasks(torch.from_numpy(same & ~itself), torch.from_numpy(~same))
        return masks, masks


@final
class Related(Positives):
    """Positive is what a list of pairs says, both ways round; the rest of a batch is negative.

    pairs: int (m, 2), rows of items that answer each other: a query's row and a document's row,
    where queries and documents were embedded by both models and stand in the same arrays.
    items: n. Raises ShapeError, InputError.
    """

    def __init__(self, pairs: Any, items: int) -> None:
        given = np.asarray(pairs)
        if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iu":
            raise ShapeError(f"pairs: expected integers (m, 2), got {given.dtype} {given.shape}")
        if not len(given) or given.min() < 0 or given.max() >= items:
            raise InputError(f"pairs: expected at least one, of rows 0 .. {items - 1}")
        if np.any(given[:, 0] == given[:, 1]):
            raise InputError("pairs: an item cannot be its own positive")
        both = np.vstack([given, given[:, ::-1]])
        self._relation = _relation(both[:, 0], both[:, 1], items)
        self._anchors = np.unique(both)
        self._items = items

    @property
    def items(self) -> int:
        """How many items there are, with or without a partner."""
        return self._items

    def batches(self, batch: int, seed: int) -> list[Rows]:
        """Draw anchors with their partners; items without one are only reached as no negatives."""
        return grouped(self._relation, self._anchors, batch, GROUP, seed)

    def masks(self, rows: Rows) -> tuple[SideMasks, SideMasks]:
        """Look the pairs up."""
        related = _among(self._relation, rows)
        itself = rows[:, None] == rows[None, :]
        masks = SideMasks(torch.from_numpy(related), torch.from_numpy(~related & ~itself))
        return masks, masks


@final
class Neighbours(Positives):
    """Without labels: an item's nearest neighbours in the new space, and itself on the old side.

    new_vectors: (n, d) as the new space compares them: unit length, or distances meant.
    count: neighbours per item, 1 to n - 1; about 20 did best in the method notes. [project
    extension, section 2.6b]
    """

    def __init__(self, new_vectors: Any, *, count: int = 20) -> None:
        vectors = np.asarray(new_vectors, dtype=np.float32)
        if vectors.ndim != 2:
            raise ShapeError(f"new vectors: expected shape (n, d), got {vectors.shape}")
        if not 1 <= count < len(vectors):
            raise InputError(f"neighbours: expected 1 to {len(vectors) - 1}, got {count}")
        nearest = _nearest(vectors, count)
        anchors = np.repeat(np.arange(len(vectors)), count)
        self._relation = _relation(anchors, nearest.ravel(), len(vectors))
        self._items = len(vectors)

    @property
    def items(self) -> int:
        """How many vectors were given."""
        return self._items

    def batches(self, batch: int, seed: int) -> list[Rows]:
        """Draw items with some of their neighbours."""
        return grouped(self._relation, np.arange(self._items), batch, GROUP, seed)

    def masks(self, rows: Rows) -> tuple[SideMasks, SideMasks]:
        """Look the neighbours up; on the old side the item itself is a positive too."""
        related = _among(self._relation, rows)
        itself = rows[:, None] == rows[None, :]
        negatives = torch.from_numpy(~related & ~itself)
        return (
            SideMasks(torch.from_numpy(related | itself), negatives),
            SideMasks(torch.from_numpy(related), negatives),
        )


def _relation(first: Rows, second: Rows, items: int) -> csr_array:
    from scipy.sparse import csr_array

    relation = csr_array((np.ones(len(first), np.int8), (first, second)), shape=(items, items))
    relation.sum_duplicates()
    return relation


def _among(relation: csr_array, rows: Rows) -> NDArray[np.bool_]:
    return np.asarray(relation[rows][:, rows].toarray() > 0)


def _nearest(vectors: NDArray[np.float32], count: int) -> Rows:
    """Rows of the nearest others, (n, count), block by block."""
    squares = np.einsum("ij,ij->i", vectors, vectors)
    found = np.empty((len(vectors), count), dtype=np.int64)
    block = max(1, (32 << 20) // (4 * len(vectors)))
    for start in range(0, len(vectors), block):
        rows = np.arange(start, min(start + block, len(vectors)))
        closeness = 2 * vectors[rows] @ vectors.T - squares
        closeness[np.arange(len(rows)), rows] = -np.inf
        found[rows] = np.argpartition(-closeness, count - 1, axis=1)[:, :count]
    return found
