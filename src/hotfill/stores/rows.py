"""The searched vectors of one side in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from hotfill.types import Vectors


class Rows:
    """Vectors by item id, without gaps: a removed row is replaced by the last.

    ids: in the order of the rows. filled: float32 (n, dimension), a view that the next change
        may void. Not safe for use by several threads at once.
    """

    def __init__(self, dimension: int) -> None:
        self.ids: list[str] = []
        self._place: dict[str, int] = {}
        self._data = np.empty((16, dimension), dtype=np.float32)

    @property
    def filled(self) -> Vectors:
        """All vectors, in the order of `ids`."""
        filled: Vectors = self._data[: len(self.ids)]
        return filled

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._place

    def places(self, item_ids: Iterable[str]) -> list[int]:
        """Tell in which rows items stand; those that are not here are left out."""
        return [self._place[item_id] for item_id in item_ids if item_id in self._place]

    def row(self, item_id: str) -> NDArray[np.float32]:
        """Return the vector of an item."""
        vector: NDArray[np.float32] = self._data[self._place[item_id]]
        return vector

    def put(self, item_id: str, vector: NDArray[np.float32]) -> None:
        """Give an item a vector, in the place of the one it has."""
        place = self._place.setdefault(item_id, len(self.ids))
        if place == len(self.ids):
            self.ids.append(item_id)
            if place == len(self._data):
                self._data = np.concatenate([self._data, np.empty_like(self._data)])
        self._data[place] = vector

    def remove(self, item_id: str) -> NDArray[np.float32]:
        """Take an item away and return its vector."""
        place = self._place.pop(item_id)
        removed: NDArray[np.float32] = self._data[place].copy()
        last = self.ids.pop()
        if last != item_id:
            self.ids[place] = last
            self._place[last] = place
            self._data[place] = self._data[len(self.ids)]
        return removed


def best(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Return the places of the k highest scores, best first."""
    if k < len(scores):
        top = np.argpartition(-scores, k - 1)[:k]
        return top[np.argsort(-scores[top], kind="stable")]
    return np.argsort(-scores, kind="stable")
