"""Vectors for a batch, and who is at fault where there are none: an item, or no item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotfill.checks import check_vectors
from hotfill.errors import EmbedError, ShapeError, VectorError
from hotfill.upgrade.work.retrying import tried

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from hotfill.types import Embedder, ModelId, Vectors


def make_vectors(
    make: Callable[[Sequence[Any]], Vectors],
    model: ModelId,
    item_ids: Sequence[str],
    contents: Sequence[Any],
) -> Vectors:
    """Make vectors and check them; what is wrong with single items is said of those items."""
    try:
        return check_vectors(
            make(contents), model.dimension, item_ids=item_ids, what=f"vectors of {model.name}"
        )
    except VectorError as error:
        raise EmbedError(str(error), item_ids=error.item_ids, retryable=False) from error
    except EmbedError as error:
        names = [item_ids[row] for row in error.rows if row < len(item_ids)]
        raise EmbedError(str(error), item_ids=names, retryable=error.retryable) from error


def no_item_at_fault(error: Exception) -> bool:
    """Tell a wrong model or an outage from what may be the fault of single items."""
    if isinstance(error, ShapeError):
        return True  # the embedder is not the planned model
    return isinstance(error, EmbedError) and error.retryable and not error.item_ids


def narrowed(item_ids: Sequence[str], error: Exception) -> list[list[str]]:
    """Cut two or more items that failed together: those named apart, or else in halves."""
    named = set(getattr(error, "item_ids", ())) & set(item_ids)
    if named and len(named) < len(item_ids):
        healthy = [item for item in item_ids if item not in named]
        return [healthy, *([item] for item in sorted(named))]
    middle = len(item_ids) // 2
    return [list(item_ids[:middle]), list(item_ids[middle:])]


def embed_what_can_be(
    embedder: Embedder, contents: Mapping[str, Any], failures: list[Exception]
) -> dict[str, NDArray[np.float32]]:
    """Embed items, narrowing failures down to single ones; each failure is added to the list."""
    made: dict[str, NDArray[np.float32]] = {}
    waiting = [list(contents)]
    while waiting:
        item_ids = waiting.pop()
        rows = [contents[item_id] for item_id in item_ids]
        try:
            vectors = tried(make_vectors, embedder, embedder.model_id, item_ids, rows)
        except Exception as error:  # user code may raise anything
            if no_item_at_fault(error):
                raise
            failures.append(error)
            if len(item_ids) > 1:
                waiting += narrowed(item_ids, error)
        else:
            made.update(zip(item_ids, vectors, strict=True))
    return made
