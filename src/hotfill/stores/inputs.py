"""Checks of what every store is given, so that every store refuses the same input alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.checks import check_ids, check_vectors
from hotfill.errors import InputError, ModelMismatchError, ShapeError, StoreError
from hotfill.stores.filters import check_metadata, check_where

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata, Where
    from hotfill.types import ModelId, Vectors


def check_space(spaces: Sequence[ModelId], model: ModelId) -> None:
    """Raise ModelMismatchError when a store is not stamped with a model."""
    if not spaces:
        raise StoreError(f"the store is not stamped with any model: call add_space({model}) first")
    if model not in spaces:
        raise ModelMismatchError("unknown space", spaces[-1], model)


def check_unsearched(model: ModelId, searched: int) -> None:
    """Raise StoreError while items are searched in a space that is to be dropped."""
    if searched:
        raise StoreError(
            f"cannot drop {model}: {searched} items are searched there; move them first"
        )


def check_upsert(
    spaces: Sequence[ModelId],
    item_ids: Sequence[str],
    vectors: Any,
    space: ModelId,
    metadata: Sequence[Metadata] | None,
    retired: Mapping[ModelId, Vectors] | None,
) -> tuple[Vectors, dict[ModelId, Vectors]]:
    """Return the searched and the kept vectors, ready to be stored, or raise."""
    for model in (space, *(retired or {})):
        check_space(spaces, model)
    if retired and space in retired:
        raise InputError(f"retired vectors cannot be of {space}, where the items are searched")
    check_ids(item_ids)
    if metadata is not None:
        check_metadata(metadata, len(item_ids))
    ready = ready_vectors(vectors, space, item_ids)
    return ready, {
        model: ready_vectors(rows, model, item_ids, what="retired vectors")
        for model, rows in (retired or {}).items()
    }


def check_move(
    spaces: Sequence[ModelId],
    item_ids: Sequence[str],
    vectors: Any,
    space: ModelId,
    expected_versions: Any,
) -> tuple[Vectors, NDArray[np.int64]]:
    """Return vectors ready to be stored and versions as int64 (n,), or raise."""
    check_space(spaces, space)
    check_ids(item_ids)
    ready = ready_vectors(vectors, space, item_ids)
    versions = np.asarray(expected_versions)
    if versions.shape != (len(item_ids),) or (versions.size and versions.dtype.kind not in "iu"):
        raise ShapeError(
            f"expected_versions: expected {len(item_ids)} whole numbers, "
            f"got {versions.dtype} of shape {versions.shape}"
        )
    return ready, versions.astype(np.int64)


def check_search(
    spaces: Sequence[ModelId], queries: Mapping[ModelId, Any], k: int, where: Where | None
) -> dict[ModelId, Vectors]:
    """Return the queries ready to be compared with stored vectors, or raise."""
    if k < 1:
        raise InputError(f"k must be >= 1, got {k}")
    if where is not None:
        check_where(where)
    for space in queries:
        check_space(spaces, space)
    ready = {space: _ready_queries(rows, space) for space, rows in queries.items()}
    if len({len(rows) for rows in ready.values()}) > 1:
        counts = ", ".join(str(len(rows)) for rows in ready.values())
        raise ShapeError(f"queries: expected the same number of rows for each space, got {counts}")
    return ready


def _ready_queries(queries: Any, space: ModelId) -> Vectors:
    """Do what `ready_vectors` does, in few steps: a search pays for each of them."""
    rows = np.asarray(queries)
    if rows.ndim == 2 and rows.shape[1] == space.dimension and rows.dtype == np.float32:
        exact = rows.astype(np.float64)
        squares = (exact * exact).sum(axis=1)
        if np.isfinite(squares).all() and (squares > 0).all():
            if space.metric != "cosine":
                return rows
            unit: Vectors = (exact / np.sqrt(squares)[:, None]).astype(np.float32)
            return unit
    return ready_vectors(queries, space, None, what="queries")


def check_limit(limit: int) -> None:
    """Raise InputError unless a page may hold at least one item."""
    if limit < 1:
        raise InputError(f"limit must be >= 1, got {limit}")


def ready_vectors(
    vectors: Any,
    space: ModelId,
    item_ids: Sequence[str] | None,
    *,
    what: str = "vectors",
) -> Vectors:
    """Return float32 rows as a store keeps and compares them: of unit length for the cosine.

    With both sides at unit length the inner product is the cosine, in every store alike.
    """
    rows = check_vectors(vectors, space.dimension, item_ids=item_ids, what=what)
    if space.metric != "cosine":
        return rows
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    unit: Vectors = np.divide(rows, lengths[:, None], dtype=np.float64).astype(np.float32)
    return unit
