"""What to train on: rows, and for each row the partners that belong together with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hotfill.errors import InputError, ShapeError
from hotfill.extras import need

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.types import Vectors


@dataclass(frozen=True)
class TrainingPairs:
    """Rows and their partners.

    vectors: float32 (n, dimension), of the source model.
    partners: int64 (p, j): row i < p is paired with one of vectors[partners[i]] at random.
    items: int64 (n,): equal numbers are the same item and never each other's negatives.
    noise: length of a random step added to unit rows, so that an item can be its own partner.
    """

    vectors: Vectors
    partners: NDArray[np.int64]
    items: NDArray[np.int64]
    noise: float

    def __len__(self) -> int:
        return len(self.partners)


def pairs_of_items(vectors: Vectors, *, noise: float = 0.3) -> TrainingPairs:
    """Pair each item with itself, both moved by noise. Needs nothing but vectors."""
    rows = np.arange(len(vectors))
    return TrainingPairs(vectors, rows[:, None], rows, noise)


def pairs_of_neighbours(
    vectors: Vectors, *, neighbours: int = 5, noise: float = 0.0
) -> TrainingPairs:
    """Pair each item with its nearest neighbours by cosine, found exactly (n^2 work).

    Needs FAISS. Raises InputError when there are too few items.
    """
    if len(vectors) <= neighbours:
        raise InputError(f"{neighbours} neighbours need more items than {len(vectors)}")
    faiss = need("faiss", "faiss")
    rows = np.array(vectors, np.float32)
    faiss.normalize_L2(rows)
    _, found = faiss.knn(rows, rows, neighbours + 1, metric=faiss.METRIC_INNER_PRODUCT)
    own = np.arange(len(rows))
    # Among equal vectors the item itself may not come first, or not at all.
    others = [line[line != row][:neighbours] for row, line in zip(own, found, strict=True)]
    return TrainingPairs(vectors, np.stack(others).astype(np.int64), own, noise)


def pairs_given(
    first: Vectors, second: Vectors, items: NDArray[np.int64] | None = None, *, noise: float = 0.0
) -> TrainingPairs:
    """Pair rows with rows: queries with clicked items, captions with images.

    first, second: float32 (p, dimension). items: int64 (p,), equal where pairs show the same item.
    Raises ShapeError.
    """
    if np.shape(first) != np.shape(second):
        raise ShapeError(f"expected pairs of one shape, got {np.shape(first)} {np.shape(second)}")
    rows = np.arange(len(first))
    items = rows if items is None else np.asarray(items, np.int64)
    if items.shape != (len(first),):
        raise ShapeError(f"expected one item per pair ({len(first)}), got {items.shape}")
    return TrainingPairs(
        np.concatenate([first, second]),
        (rows + len(first))[:, None],
        np.concatenate([items, items]),
        noise,
    )
