"""Codes in one file, each in a slot of one size, mapped into memory and never read as a whole.

A record is the code's bytes and, little-endian, the crc32 of the item's id and these bytes: a code
that is damaged, or is another item's, is noticed.
"""

from __future__ import annotations

import errno
import mmap
import os
import zlib
from typing import TYPE_CHECKING

import numpy as np

from hotfill.errors import StoreError, StoreFullError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_LEAST_SLOTS = 1024


def record_of(row_bytes: int) -> np.dtype[np.void]:
    """Lay out a record: a code of `size` bytes, and its sum."""
    return np.dtype([("code", "u1", (row_bytes,)), ("sum", "<u4")])


class SlotFile:
    """Rows of bytes by slot number. Callers see to it that nobody writes while others read."""

    def __init__(self, path: Path, row_bytes: int) -> None:
        """Open the file, or make it."""
        self.path = path
        self._record = record_of(row_bytes)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._map: mmap.mmap | None = None
        self._records = np.empty(0, self._record)
        self._map_again()

    def write(
        self, slots: NDArray[np.int64], rows: NDArray[np.uint8], item_ids: Sequence[str]
    ) -> None:
        """Put rows (n, row_bytes) of items into slots (n,); durable when it returns.

        Raises StoreFullError, StoreError.
        """
        records = np.empty(len(slots), self._record)
        records["code"] = rows
        records["sum"] = _sums(rows, item_ids)
        order = np.argsort(slots)
        runs = np.split(order, np.flatnonzero(np.diff(slots[order]) != 1) + 1)
        try:
            self._reserve(int(slots.max(initial=-1)) + 1)
            for run in runs:
                if len(run):
                    self._write_whole(records[run].tobytes(), int(slots[run[0]]))
            os.fdatasync(self._file)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise StoreFullError(f"no space left for {self.path}", retryable=True) from error
            raise StoreError(f"{self.path}: {error.strerror}") from error

    def read(self, slots: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copy the rows in slots, uint8 (n, row_bytes)."""
        rows: NDArray[np.uint8] = self._records["code"][slots]
        return rows

    def damaged(self, slots: NDArray[np.int64], item_ids: Sequence[str]) -> list[str]:
        """Name the items whose code does not match its sum, or is not there."""
        there = slots < len(self._records)
        records = self._records[np.where(there, slots, 0)] if len(self._records) else None
        if records is None:
            return list(item_ids)
        right = there & (records["sum"] == _sums(records["code"], item_ids))
        return [item_id for item_id, fine in zip(item_ids, right, strict=True) if not fine]

    def close(self) -> None:
        """Close the file."""
        self._records = np.empty(0, self._record)
        self._map = None  # released with the last array that looks into it
        os.close(self._file)

    def _write_whole(self, data: bytes, slot: int) -> None:
        place = slot * self._record.itemsize
        while data:
            done = os.pwrite(self._file, data, place)
            data, place = data[done:], place + done

    def _reserve(self, slots: int) -> None:
        """Grow by eighths; what is not written yet takes no room on the disk."""
        if slots > len(self._records):
            wanted = max(slots, len(self._records) * 9 // 8, _LEAST_SLOTS)
            os.ftruncate(self._file, wanted * self._record.itemsize)
            self._map_again()

    def _map_again(self) -> None:
        slots = os.fstat(self._file).st_size // self._record.itemsize
        if slots:  # an empty map is refused by the operating system
            self._map = mmap.mmap(
                self._file, slots * self._record.itemsize, access=mmap.ACCESS_READ
            )
            self._records = np.frombuffer(self._map, self._record, count=slots)


def _sums(rows: NDArray[np.uint8], item_ids: Sequence[str]) -> NDArray[np.uint32]:
    sums = [
        zlib.crc32(row.tobytes(), zlib.crc32(item_id.encode()))
        for row, item_id in zip(rows, item_ids, strict=True)
    ]
    return np.array(sums, dtype=np.uint32)
