"""Rows of codes under slot numbers.

A read-only base, perhaps mapped from a file, and what came after it in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from hotfill.binary.code_file import Codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
_FREE = -1


class CodeTable:
    """Codes, factors and item numbers by slot. A slot that is given up is used again."""

    def __init__(self, base: Codes, numbers: NDArray[np.int64]) -> None:
        """Begin with some codes. numbers: int64 (n,), the item of each, none negative."""
        self._base = base
        self._format = base.code_format
        self._packed = np.empty((0, self._format.row_bytes), np.uint8)
        self._factors = np.empty(0, np.float16)
        self._numbers = numbers.astype(np.int64)
        self._used = len(base)
        self._free = np.empty(0, np.int64)  # of the slots above the base; those below stay unused

    def __len__(self) -> int:
        return int(np.count_nonzero(self._numbers[: self._used] != _FREE))

    def add(self, codes: Codes, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Keep codes; returns their slots, int64 (n,)."""
        reused = self._free[: len(codes)]
        self._free = self._free[len(reused) :]
        fresh = np.arange(self._used, self._used + len(codes) - len(reused))
        slots = np.concatenate([reused, fresh])
        self._used += len(fresh)
        self._reserve(self._used)
        rows = slots - len(self._base)
        self._packed[rows] = codes.packed
        self._factors[rows] = codes.factors
        self._numbers[slots] = numbers
        return slots

    def remove(self, slots: NDArray[np.int64]) -> None:
        """Give slots up."""
        self._numbers[slots] = _FREE
        self._free = np.concatenate([self._free, slots[slots >= len(self._base)]])

    def slots_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the slots of those items that are here, in slot order."""
        here = self._numbers[: self._used]
        return np.flatnonzero((here != _FREE) & np.isin(here, numbers))

    def numbers(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Name the items in slots; -1 where the slot is -1."""
        if self._used == 0:
            return np.full(slots.shape, _FREE)
        return np.where(slots >= 0, self._numbers[np.maximum(slots, 0)], _FREE)

    def take(self, slots: NDArray[np.int64]) -> Codes:
        """Copy the codes in slots (n,)."""
        packed = np.empty((len(slots), self._format.row_bytes), np.uint8)
        factors = np.empty(len(slots), np.float16)
        low = slots < len(self._base)
        packed[low], factors[low] = self._base.packed[slots[low]], self._base.factors[slots[low]]
        above = slots[~low] - len(self._base)
        packed[~low], factors[~low] = self._packed[above], self._factors[above]
        return Codes(self._format, packed, factors, self._base.space)

    def live(self) -> NDArray[np.int64]:
        """List the slots in use, in order."""
        return np.flatnonzero(self._numbers[: self._used] != _FREE)

    def _reserve(self, slots: int) -> None:
        """Grow by halves, so that n items added one by one cost O(n)."""
        rows = slots - len(self._base)
        if rows > len(self._packed):
            room = max(rows, len(self._packed) * 3 // 2, 64)
            self._packed = _grown(self._packed, room)
            self._factors = _grown(self._factors, room)
            self._numbers = _grown(self._numbers, room + len(self._base))


def _grown(array: NDArray[Scalar], rows: int) -> NDArray[Scalar]:
    larger = np.zeros((rows, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
