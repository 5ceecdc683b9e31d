"""Vectors: checked once where they come in, and of unit length where length has no meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from hotfill.errors import ModelMismatchError, ShapeError, VectorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hotfill.types import ModelId, Vectors

_AT_ONCE = 4096  # rows copied in double precision
_NAMED = 1000  # items that an error lists; five of them stand in its text
_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """Vectors of one space that `checked` made: whoever gets them need not check them again.

    rows: float32 (n, model.dimension), C-contiguous, finite, no row all zero; of unit length where
        the space is compared by the cosine, so that the inner product is the cosine.
    """

    rows: Vectors
    model: ModelId

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def compared(self) -> Vectors:
        """The rows of unit length unless length has a meaning: see `as_compared`."""
        return self.rows if self.model.metric == "cosine" else as_compared(self.rows, self.model)


def checked(
    vectors: Any,
    model: ModelId,
    *,
    item_ids: Sequence[str] | None = None,
    what: str = "vectors",
    copy: bool = False,
) -> Checked:
    """Check vectors of a space and bring them to the form in which they are compared.

    Vectors that are `Checked` come back at once. Others: as for `check_vectors`.
    Raises ModelMismatchError for `Checked` vectors of another space.
    """
    if isinstance(vectors, Checked):
        if vectors.model != model:
            raise ModelMismatchError(what, model, vectors.model)
        if item_ids is not None:
            _check_count(len(vectors), item_ids, what)
        return vectors
    rows, squares = _rows_and_squares(vectors, model.dimension, item_ids, what)
    if model.metric == "cosine":
        rows = rows / np.sqrt(squares).astype(np.float32)[:, None]
    elif copy:
        rows = _apart_from(vectors, rows)
    return Checked(rows, model)


def check_vectors(
    vectors: Any,
    dimension: int,
    *,
    item_ids: Sequence[str] | None = None,
    what: str = "vectors",
    copy: bool = False,
) -> Vectors:
    """Return vectors as float32 (n, dimension), C-contiguous, or raise.

    vectors: anything numpy reads as a two-dimensional array of real numbers.
    dimension: the expected length of a row.
    item_ids: one name per row, used in messages; their number is checked too.
    what: the word for these vectors in messages.
    copy: share no memory with `vectors`, which their owner may fill again: an embedder's buffer.
    Raises ShapeError (no numbers, rows, dimensions) and VectorError (NaN, infinite, all zero; a
    squared length outside of float32's range counts as infinite or zero).
    """
    rows, _ = _rows_and_squares(vectors, dimension, item_ids, what)
    return _apart_from(vectors, rows) if copy else rows


def unit(vectors: NDArray[np.floating]) -> NDArray[Any]:
    """Divide rows by their Euclidean lengths; a row of zeros stays one.

    vectors: (..., d). Returns the same shape in the same precision, at least float32.
    """
    kind = np.result_type(vectors.dtype, np.float32)
    lengths = np.sqrt(np.einsum("...i,...i->...", vectors, vectors, dtype=np.float64))
    lengths[lengths == 0] = 1.0
    return np.asarray(np.divide(vectors, lengths[..., None].astype(kind)), dtype=kind)


def as_stored(vectors: Vectors, model: ModelId) -> Vectors:
    """Return rows as a store keeps them: of unit length where the cosine compares them."""
    return unit(vectors) if model.metric == "cosine" else vectors


def has_free_length(model: ModelId) -> bool:
    """Tell whether the length of a vector means something in this space."""
    return model.metric != "cosine" and not model.normalised


def as_compared(vectors: Vectors, model: ModelId) -> Vectors:
    """Return rows of unit length unless length has a meaning: what maps and fits work with."""
    return vectors if has_free_length(model) else unit(vectors)


def as_promised(vectors: NDArray[Any], model: ModelId) -> Vectors:
    """Return an embedder's rows: float32, of unit length where the model says so.

    Rows of zeros stay; whoever gets them refuses them by name.
    """
    rows: Vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    return unit(rows) if model.normalised else rows


def _rows_and_squares(
    vectors: Any, dimension: int, item_ids: Sequence[str] | None, what: str
) -> tuple[Vectors, NDArray[np.float64]]:
    """Return checked rows and their squared lengths: float32 (n, dimension), float64 (n,)."""
    array = _table(vectors, what)
    if array.ndim != 2 or array.shape[1] != dimension:
        raise ShapeError(
            f"{what}: expected shape (n, {dimension}), got {array.shape}; "
            "check which model made them"
        )
    if item_ids is not None:
        _check_count(len(array), item_ids, what)
    if array.dtype == np.float32:
        rows: Vectors = np.ascontiguousarray(array)
    else:
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(array, dtype=np.float32)
    squares = _squares(rows)
    if not _all_right(squares):
        right = (squares >= _LEAST) & (squares <= _MOST)
        bad = np.flatnonzero(~right)
        names = [item_ids[row] if item_ids is not None else f"row {row}" for row in bad[:_NAMED]]
        shown = ", ".join(names[:5]) + (f" and {bad.size - 5} more" if bad.size > 5 else "")
        raise VectorError(
            f"{what}: {bad.size} of {len(rows)} hold NaN, infinite or only zero values: {shown}; "
            "nothing was written: embed these items again or leave them out",
            names,
        )
    return rows, squares


def _squares(rows: Vectors) -> NDArray[np.float64]:
    if len(rows) > _AT_ONCE:  # a copy in double precision would be felt
        return np.asarray(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    wide = rows.astype(np.float64)
    return np.asarray(np.vecdot(wide, wide))


def _all_right(squares: NDArray[np.float64]) -> bool:
    """Tell whether all squared lengths can be used; NaN is not."""
    if len(squares) == 1:  # a query, nearly always: plain numbers are quicker
        return _LEAST <= squares.item() <= _MOST
    return bool(((squares >= _LEAST) & (squares <= _MOST)).all())


def _table(vectors: Any, what: str) -> NDArray[Any]:
    """Read numbers into an array. Raises ShapeError for what numpy cannot read as real numbers."""
    try:
        array = np.asarray(vectors)
    except (TypeError, ValueError, RuntimeError) as error:
        if hasattr(vectors, "detach"):  # a tensor: of bfloat16, of a device, or with a gradient
            raise ShapeError(
                f"{what}: numpy cannot read this tensor ({error}): give "
                "`tensor.detach().float().cpu()`"
            ) from error
        raise ShapeError(f"{what}: expected a table of numbers: {error}") from error
    if array.dtype.kind not in "fiu":  # bfloat16, which numpy lacks, arrives as "V"
        raise ShapeError(
            f"{what}: expected a table of numbers, got values of type {array.dtype}: give real "
            "numbers, for example `vectors.astype(np.float32)`"
        )
    return array


def _apart_from(vectors: Any, rows: Vectors) -> Vectors:
    """Return rows that share no memory with the vectors they were read from."""
    given = np.asarray(vectors)
    return rows.copy() if np.may_share_memory(rows, given) else rows


def _check_count(rows: int, item_ids: Sequence[str], what: str) -> None:
    if len(item_ids) != rows:
        raise ShapeError(f"{what}: expected one row per item ({len(item_ids)}), got {rows}")
