"""Exact scores between codes, and between float queries and codes.

Symmetric scores are integers: sums of products of the odd numbers 2c - L. The matrix product runs
in float32, which is exact below 2^24: up to 74,000 dimensions at 4 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.binary.codes import (
    CodeFormat,
    Packed,
    check_width,
    grid_values,
    integers,
    unpack,
)
from hotfill.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from hotfill.types import Vectors

_EXACT_IN_FLOAT32 = 2**24
_BLOCK_BYTES = 32 << 20


def integer_products(
    queries: Packed, gallery: Packed, code_format: CodeFormat
) -> NDArray[np.int32]:
    """Inner products of codes in integer units: int32 (q, n), 4^u times the product of grid values.

    queries: packed (q, row_bytes). gallery: packed (n, row_bytes). Raises ShapeError, ConfigError.
    """
    if code_format.dimension * code_format.top_level**2 >= _EXACT_IN_FLOAT32:
        raise ConfigError(f"codes of {code_format.dimension} dimensions are too long to be exact")
    left = integers(unpack(queries, code_format), code_format).astype(np.float32)
    out = np.empty((len(left), len(gallery)), np.int32)
    for rows in _blocks(len(gallery), code_format.dimension):
        right = integers(unpack(gallery[rows], code_format), code_format).astype(np.float32)
        out[:, rows] = left @ right.T
    return out


def squared_norms(packed: Packed, code_format: CodeFormat) -> NDArray[np.int32]:
    """Squared lengths of codes, int32 (n,): 4^u times those of the grid values."""
    out = np.empty(len(packed), np.int32)
    for rows in _blocks(len(packed), code_format.dimension):
        values = integers(unpack(packed[rows], code_format), code_format).astype(np.int32)
        out[rows] = np.einsum("ij,ij->i", values, values)
    return out


def symmetric_scores(
    queries: Packed, gallery: Packed, code_format: CodeFormat
) -> NDArray[np.float32]:
    """Cosines of codes, float32 (q, n): what symmetric search ranks by."""
    products = integer_products(queries, gallery, code_format).astype(np.float64)
    products /= np.sqrt(squared_norms(queries, code_format).astype(np.float64))[:, None]
    products /= np.sqrt(squared_norms(gallery, code_format).astype(np.float64))[None, :]
    return products.astype(np.float32)


def asymmetric_scores(
    queries: Vectors, gallery: Packed, factors: NDArray[np.floating[Any]], code_format: CodeFormat
) -> NDArray[np.float32]:
    """Scores of float queries in code space, float32 (q, n): <query, code> * factor of the code.

    queries: float32 (q, dimension). factors: float (n,), see `BinaryEncoder.encode`.
    Raises ShapeError.
    """
    check_width(queries, code_format.dimension, "queries in code space")
    if np.shape(factors) != (len(gallery),):
        raise ShapeError(f"expected one factor per code ({len(gallery)}), got {np.shape(factors)}")
    out = np.empty((len(queries), len(gallery)), np.float32)
    for rows in _blocks(len(gallery), code_format.dimension):
        out[:, rows] = queries @ grid_values(unpack(gallery[rows], code_format), code_format).T
    out *= np.asarray(factors, np.float32)[None, :]
    return out


def _blocks(rows: int, dimension: int) -> Iterator[slice]:
    """Slices of rows whose float32 values stay within a few tens of megabytes."""
    size = max(1, _BLOCK_BYTES // (4 * dimension))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
