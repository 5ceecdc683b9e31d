"""Codes: levels of a small uniform grid per dimension, packed into bytes.

A recurrent binary code with u loops is the weighted sum of u + 1 binary vectors (weights 1, 1/2 ...
2^-u). Read as an integer c, first bit first, it is a point of a uniform grid:

    value(c) = (2c - L) / 2^u,    L = 2^(u+1) - 1,    c in 0 ... L

(BEBR, section 1.2 of the method notes; derived and checked numerically). So a code is an array of
`levels` c, u + 1 bits each, and every score is exact integer arithmetic on the odd numbers 2c - L.

Layout of a packed row: dimensions in order, each in 1, 2 or 4 bits (3 bits are stored as 4), the
earlier dimension in the higher bits of its byte; zero bits fill the last byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import ConfigError, InputError, ShapeError

if TYPE_CHECKING:
    from hotfill.types import Vectors

Levels: TypeAlias = NDArray[np.uint8]
"""Uint8 (n, dimension), each in 0 ... 2^bits - 1."""

Packed: TypeAlias = NDArray[np.uint8]
"""Uint8 (n, row_bytes), in the layout of this module."""

_STORED_BITS = {1: 1, 2: 2, 3: 4, 4: 4}


@dataclass(frozen=True, slots=True)
class CodeFormat:
    """The shape of a code. dimension: >= 1. bits: per dimension, 1 ... 4 (u = bits - 1 loops)."""

    dimension: int
    bits: int

    def __post_init__(self) -> None:
        if self.dimension < 1:
            raise ConfigError(f"a code needs a dimension >= 1, got {self.dimension}")
        if self.bits not in _STORED_BITS:
            raise ConfigError(f"a code has 1, 2, 3 or 4 bits per dimension, got {self.bits}")

    @property
    def loops(self) -> int:
        """Residual loops after the first binarisation (u in the paper)."""
        return self.bits - 1

    @property
    def top_level(self) -> int:
        """The highest level (L)."""
        return int(2**self.bits - 1)

    @property
    def stored_bits(self) -> int:
        """Bits that a dimension takes in a packed row: 1, 2 or 4."""
        return _STORED_BITS[self.bits]

    @property
    def row_bytes(self) -> int:
        """Bytes of a packed row."""
        return -(-self.dimension * self.stored_bits // 8)

    @property
    def step(self) -> float:
        """Distance between two neighbouring grid values."""
        return float(2.0 ** (1 - self.loops))


def quantise(values: Vectors, code_format: CodeFormat) -> Levels:
    """Round each value to its cell of the grid. Zero falls below, as sign(x) = +1 only for x > 0.

    values: float (n, dimension), in grid units. Returns levels. Raises ShapeError.
    """
    check_width(values, code_format.dimension, "values")
    top = code_format.top_level
    cells = np.ceil(np.asarray(values, np.float32) / np.float32(code_format.step))
    cells += (top - 1) / 2
    levels: Levels = np.clip(cells, 0, top).astype(np.uint8)
    return levels


def integers(levels: Levels, code_format: CodeFormat) -> NDArray[np.int8]:
    """Grid values times 2^u: the odd numbers 2c - L, int8 (n, dimension)."""
    return (2 * levels.astype(np.int8) - np.int8(code_format.top_level)).astype(np.int8)


def grid_values(levels: Levels, code_format: CodeFormat) -> Vectors:
    """Grid values (2c - L) / 2^u, float32 (n, dimension); exact."""
    return integers(levels, code_format).astype(np.float32) / np.float32(2**code_format.loops)


def levels_from_values(values: Vectors, code_format: CodeFormat) -> Levels:
    """Turn grid values back into levels, also after a store scaled rows to unit length.

    values: float (n, dimension), each row grid values times some positive number. Where several
    codes have that direction, one is taken; their cosines with everything are the same.
    Raises InputError when a row is not of the grid, ShapeError.
    """
    levels = quantise(values, code_format)
    scaled = np.flatnonzero((grid_values(levels, code_format) != values).any(axis=1))
    if scaled.size:
        levels[scaled] = _levels_of_directions(np.asarray(values)[scaled], code_format)
    return levels


def _levels_of_directions(rows: Vectors, code_format: CodeFormat) -> Levels:
    """Find for each row the smallest odd number that its smallest value may stand for."""
    odd = np.zeros(rows.shape, np.float32)
    found = np.zeros(len(rows), bool)
    smallest = np.abs(rows).min(axis=1, keepdims=True)
    for number in range(1, code_format.top_level + 1, 2):
        units = rows * (number / np.maximum(smallest, np.float32(1e-30)))
        nearest = 2 * np.rint((units - 1) / 2) + 1
        # Half of the tightest gap between a true and a false scale (15/13 against 1).
        fits = (np.abs(units - nearest) < 0.07) & (np.abs(nearest) <= code_format.top_level)
        fresh = fits.all(axis=1) & ~found
        odd[fresh] = nearest[fresh]
        found |= fresh
    if not found.all():
        raise InputError(
            f"expected rows of the {code_format.bits}-bit grid, got {np.count_nonzero(~found)} "
            "others; only decoded codes can be packed without loss"
        )
    levels: Levels = ((odd + code_format.top_level) / 2).astype(np.uint8)
    return levels


def levels_from_planes(planes: NDArray[np.bool_]) -> Levels:
    """Join binary planes, bool (bits, n, dimension), first plane first, into levels."""
    levels = np.zeros(planes.shape[1:], np.uint8)
    for plane in planes:
        levels = (levels << 1) | plane
    return levels


def pack(levels: Levels, code_format: CodeFormat) -> Packed:
    """Pack levels into bytes. Raises ShapeError, InputError (a level above the highest)."""
    check_width(levels, code_format.dimension, "levels")
    levels = np.asarray(levels, np.uint8)
    if levels.size and int(levels.max()) > code_format.top_level:
        raise InputError(
            f"levels of {code_format.bits} bits go from 0 to {code_format.top_level}, "
            f"got {int(levels.max())}"
        )
    width, per_byte = code_format.stored_bits, 8 // code_format.stored_bits
    if width == 1:
        return np.packbits(levels, axis=1)
    padded = np.zeros((len(levels), code_format.row_bytes * per_byte), np.uint8)
    padded[:, : code_format.dimension] = levels
    packed = np.zeros((len(levels), code_format.row_bytes), np.uint8)
    for place in range(per_byte):
        packed |= padded[:, place::per_byte] << np.uint8(8 - width * (place + 1))
    return packed


def unpack(packed: Packed, code_format: CodeFormat) -> Levels:
    """Unpack bytes into levels. Raises ShapeError."""
    check_width(packed, code_format.row_bytes, "packed rows")
    width, per_byte = code_format.stored_bits, 8 // code_format.stored_bits
    if width == 1:
        return np.unpackbits(packed, axis=1, count=code_format.dimension)
    levels = np.empty((len(packed), code_format.row_bytes * per_byte), np.uint8)
    for place in range(per_byte):
        levels[:, place::per_byte] = packed >> np.uint8(8 - width * (place + 1))
    levels &= np.uint8(2**width - 1)
    return np.ascontiguousarray(levels[:, : code_format.dimension])


def check_width(array: Any, width: int, what: str) -> None:
    """Raise ShapeError unless the array is two-dimensional with rows of that width."""
    shape = np.shape(array)
    if len(shape) != 2 or shape[1] != width:
        raise ShapeError(f"{what}: expected shape (n, {width}), got {shape}")
