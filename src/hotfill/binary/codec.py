"""How a store keeps grid codes: see `hotfill.stores.coded`, whose `Codec` this is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotfill.binary.codes import (
    CodeFormat,
    check_width,
    grid_values,
    levels_from_values,
    pack,
    quantise,
    unpack,
)
from hotfill.binary.scan import Scanner, typical_length
from hotfill.vectors import unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.binary.codes import Packed
    from hotfill.binary.encoder import BinaryEncoder
    from hotfill.types import ModelId, Vectors


class GridCodec:
    """Grid values of one space as packed codes; candidates come from the fast scan."""

    def __init__(self, encoder: BinaryEncoder) -> None:
        """Keep the codes of an encoder."""
        self._space = encoder.space
        self._format = encoder.code_format

    @property
    def space(self) -> ModelId:
        """The space of the codes."""
        return self._space

    @property
    def row_bytes(self) -> int:
        """Bytes of a code."""
        return self._format.row_bytes

    def pack(self, vectors: Vectors, /, *, rounded: bool = False) -> Packed:
        """Pack grid values, also scaled ones, float (n, dimension).

        rounded: bring rows that are no codes to a code's typical length and round them.
        Raises InputError for such rows otherwise, ShapeError.
        """
        rows = np.asarray(vectors, np.float32)
        if not rounded:
            return pack(levels_from_values(rows, self._format), self._format)
        check_width(rows, self._format.dimension, "estimates of codes")
        typical = unit(rows) * np.float32(typical_length(self._format))
        return pack(quantise(typical, self._format), self._format)

    def unpack(self, packed: Packed, /) -> Vectors:
        """Read the grid values, float32 (n, dimension)."""
        return np.asarray(grid_values(unpack(packed, self._format), self._format))

    def scan(self) -> GridScan:
        """Make an empty scan. Raises MissingExtraError without FAISS."""
        return GridScan(self._format)


class GridScan:
    """All codes in one list of FAISS's fast scan."""

    def __init__(self, code_format: CodeFormat) -> None:
        self._format = code_format
        self._scanner = Scanner(code_format, np.zeros((1, code_format.dimension), np.float32))

    def add(self, slots: NDArray[np.int64], packed: Packed, /) -> None:
        """Take in codes."""
        self._scanner.add(slots, unpack(packed, self._format))

    def remove(self, slots: NDArray[np.int64], /) -> None:
        """Take out codes; looks at all of them once, whatever the number."""
        self._scanner.remove(slots)

    def search(self, queries: Vectors, k: int, /) -> NDArray[np.int64]:
        """Find the k nearest to queries in code space, codes or floats, as the scan sees them."""
        return self._scanner.search_floats(np.asarray(queries, np.float32), k, 1)[1]
