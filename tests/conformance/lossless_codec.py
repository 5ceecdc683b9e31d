"""Codes that lose nothing: with them a gallery of codes answers exactly as one of floats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hotfill.types import ModelId, Vectors


class LosslessCodec:
    """The bytes of the floats themselves."""

    def __init__(self, space: ModelId) -> None:
        self.space = space
        self.row_bytes = 4 * space.dimension

    def pack(self, vectors: Vectors, /, *, rounded: bool = False) -> NDArray[np.uint8]:
        rows = np.ascontiguousarray(vectors, np.float32)
        return rows.view(np.uint8).reshape(-1, self.row_bytes)

    def unpack(self, packed: NDArray[np.uint8], /) -> Vectors:
        return np.ascontiguousarray(packed).view(np.float32).reshape(-1, self.space.dimension)

    def scan(self) -> EveryCode:
        return EveryCode()


class EveryCode:
    """A scan that takes every code for a candidate, in the order of the slots."""

    def __init__(self) -> None:
        self._slots: set[int] = set()

    def add(self, slots: NDArray[np.int64], packed: NDArray[np.uint8], /) -> None:
        assert self._slots.isdisjoint(slots.tolist())
        self._slots |= set(slots.tolist())

    def remove(self, slots: NDArray[np.int64], /) -> None:
        assert self._slots.issuperset(slots.tolist())
        self._slots -= set(slots.tolist())

    def search(self, queries: Vectors, k: int, /) -> NDArray[np.int64]:
        slots = np.array(sorted(self._slots), dtype=np.int64)
        return np.tile(slots, (len(queries), 1))
