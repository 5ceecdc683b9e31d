"""How well codes stand in for the float vectors: the share of the float neighbours they find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hotfill.binary.index import CodeIndex
from hotfill.binary.rerank import rerank_by_floats
from hotfill.errors import InputError
from hotfill.vectors import unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.binary.encoder import BinaryEncoder
    from hotfill.types import Vectors

_BLOCK_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Agreement:
    """Shares in 0 ... 1 of the k nearest by exact float cosine that a search of codes finds.

    k: neighbours. symmetric: codes ask codes. asymmetric: float queries ask codes.
    reranked: asymmetric, then the 5 k best ranked again by the float vectors.
    bytes_per_item: of the code and its factor. float_bytes: of a float vector.
    """

    k: int
    symmetric: float
    asymmetric: float
    reranked: float
    bytes_per_item: int
    float_bytes: int


def measure_agreement(
    encoder: BinaryEncoder, gallery: Vectors, queries: Vectors, *, k: int = 10
) -> Agreement:
    """Search gallery by queries with codes and with floats, and compare.

    gallery: float32 (n, dimension), n >= k, possibly mapped from a file. queries: float32 (q,
    dimension), of the same model. Raises InputError, ShapeError, VectorError.
    """
    if len(gallery) < k or len(queries) == 0:
        raise InputError(f"expected at least {k} items and a query, got {len(gallery)} items")
    truth = nearest(gallery, queries, k)
    codes = encoder.encode(gallery)
    index = CodeIndex(codes)
    asked = encoder.queries(queries)
    wide = index.search(asked, 5 * k)
    reranked = rerank_by_floats(wide, queries, lambda items: np.asarray(gallery[items]), k)
    return Agreement(
        k=k,
        symmetric=overlap(index.search(encoder.encode(queries), k).items, truth),
        asymmetric=overlap(wide.items[:, :k], truth),
        reranked=overlap(reranked.items, truth),
        bytes_per_item=codes.code_format.row_bytes + codes.factors.itemsize,
        float_bytes=4 * encoder.source.dimension,
    )


def nearest(gallery: Vectors, queries: Vectors, k: int) -> NDArray[np.int64]:
    """Find the k nearest rows by exact cosine, int64 (q, k), best first; ties by row."""
    queries = unit(queries)
    items = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(gallery), _BLOCK_ROWS):
        rows = unit(np.asarray(gallery[start : start + _BLOCK_ROWS], np.float32))
        block = queries @ rows.T
        top = np.argpartition(-block, min(k, block.shape[1]) - 1, axis=1)[:, :k]
        items = np.concatenate([items, top + start], axis=1)
        scores = np.concatenate([scores, np.take_along_axis(block, top, axis=1)], axis=1)
        order = np.lexsort((items, -scores), axis=1)[:, :k]
        items = np.take_along_axis(items, order, axis=1)
        scores = np.take_along_axis(scores, order, axis=1)
    return items


def overlap(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Mean share of each row of `truth` that stands in the row of `found`."""
    return float((found[:, :, None] == truth[:, None, :]).any(axis=1).mean())
