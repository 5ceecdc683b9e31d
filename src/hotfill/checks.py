"""Checks at the boundary: what comes in is named precisely, or nothing is written."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import DuplicateItemError, ShapeError, VectorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.types import Vectors

_UNIT_TOLERANCE = 1e-3  # float16 rows that were normalised stay within 5e-4


def check_vectors(
    vectors: Any,
    dimension: int,
    *,
    item_ids: Sequence[str] | None = None,
    what: str = "vectors",
) -> Vectors:
    """Return vectors as float32 (n, dimension), C-contiguous, or raise.

    vectors: anything numpy reads as a two-dimensional array of numbers.
    dimension: the expected length of a row.
    item_ids: one name per row, used in messages; their number is checked too.
    what: the word for these vectors in messages.
    Raises ShapeError (rows, dimensions) and VectorError (NaN, infinite, all zero).
    """
    try:
        array = np.asarray(vectors)
    except ValueError as error:  # rows of different lengths
        raise ShapeError(f"{what}: expected a table of numbers: {error}") from error
    if array.ndim != 2 or array.shape[1] != dimension:
        raise ShapeError(
            f"{what}: expected shape (n, {dimension}), got {array.shape}; "
            "check which model made them"
        )
    if item_ids is not None and len(item_ids) != len(array):
        raise ShapeError(f"{what}: expected one row per item ({len(item_ids)}), got {len(array)}")
    try:
        array = np.ascontiguousarray(array, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"{what}: expected a table of numbers: {error}") from error
    # One pass: the squared length is finite and positive exactly for usable rows. Float32 squares
    # overflow near 1e19, far above any embedding, so an overflow counts as infinite.
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", array, array)
    bad = np.flatnonzero(~(np.isfinite(squares) & (squares > 0)))
    if bad.size:
        names = [item_ids[row] if item_ids is not None else f"row {row}" for row in bad[:1000]]
        shown = ", ".join(names[:5]) + (f" and {bad.size - 5} more" if bad.size > 5 else "")
        raise VectorError(
            f"{what}: {bad.size} of {len(array)} hold NaN, infinite or only zero values: {shown}; "
            "nothing was written: embed these items again or leave them out",
            names,
        )
    return array


def check_ids(item_ids: Sequence[str]) -> None:
    """Raise DuplicateItemError when an id occurs twice, ShapeError when one is not a text."""
    for item_id in item_ids:
        if not isinstance(item_id, str) or not item_id:
            raise ShapeError(f"an item id is a non-empty text; got {item_id!r}")
    if len(set(item_ids)) != len(item_ids):
        raise DuplicateItemError([name for name, n in Counter(item_ids).items() if n > 1])


def is_unit(vectors: Vectors) -> bool:
    """Tell whether every row has unit length, within 0.001."""
    lengths = np.linalg.norm(vectors, axis=1)
    return bool(np.all(np.abs(lengths - 1.0) <= _UNIT_TOLERANCE))
