"""The exact second pass over few candidates: by full codes, or by the float vectors themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hotfill.binary.codes import integers, unpack
from hotfill.errors import ShapeError
from hotfill.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hotfill.binary.code_file import Codes
    from hotfill.types import Vectors


@dataclass(frozen=True, slots=True)
class CodeHits:
    """The best items of each query, best first; ties in order of the item number.

    items: int64 (q, k), -1 where fewer were found. scores: float32 (q, k), -inf there.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float32]


def best(items: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> CodeHits:
    """Cut the k best out of candidates, both (q, candidates); item -1 is nobody."""
    scores = np.where(items >= 0, scores, -np.inf).astype(np.float32)
    order = np.lexsort((items, -scores), axis=1)[:, :k]
    found = order.shape[1]
    hits = CodeHits(
        np.full((len(items), k), -1, np.int64), np.full((len(items), k), -np.inf, np.float32)
    )
    hits.items[:, :found] = np.take_along_axis(items, order, axis=1)
    hits.scores[:, :found] = np.take_along_axis(scores, order, axis=1)
    return hits


def symmetric_candidates(query: Codes, gallery: Codes) -> NDArray[np.float32]:
    """Exact cosines of codes, float32 (q, candidates).

    query: q codes. gallery: q * candidates codes, those of the first query first.
    """
    code_format = query.code_format
    left = integers(unpack(query.packed, code_format), code_format).astype(np.float32)
    right = integers(unpack(gallery.packed, code_format), code_format).astype(np.float32)
    right = right.reshape(len(left), -1, code_format.dimension)
    products = np.matmul(right, left[:, :, None])[..., 0].astype(np.float64)
    # Sums of squares stay whole numbers below 2^24 here, so float32 holds them exactly.
    lengths = np.sqrt(np.einsum("qcd,qcd->qc", right, right).astype(np.float64))
    own = np.sqrt(np.einsum("qd,qd->q", left, left).astype(np.float64))
    return np.asarray(products / lengths / own[:, None], np.float32)


def asymmetric_candidates(queries: Vectors, gallery: Codes) -> NDArray[np.float32]:
    """Exact scores of float queries in code space against their candidates; as above."""
    code_format = gallery.code_format
    rows = integers(unpack(gallery.packed, code_format), code_format).astype(np.float32)
    rows = rows.reshape(len(queries), -1, code_format.dimension)
    factors = gallery.factors.astype(np.float32) / np.float32(2**code_format.loops)
    scores = np.matmul(rows, queries[:, :, None])[..., 0]
    return np.asarray(scores * factors.reshape(scores.shape))


def rerank_by_floats(
    hits: CodeHits,
    queries: Vectors,
    vectors: Callable[[NDArray[np.int64]], Vectors],
    k: int,
) -> CodeHits:
    """Order candidates by the cosine of the float vectors and keep k.

    hits: more than k candidates, say 5 k. queries: float32 (q, dimension) in the source space.
    vectors: reads float vectors by item number, for example `numpy.load(path, mmap_mode="r")`'s
        `take(numbers, axis=0)`; asked for each item of the batch once.
    Raises ShapeError when the numbers of queries differ.
    """
    if len(queries) != len(hits.items):
        raise ShapeError(f"expected one query per list ({len(hits.items)}), got {len(queries)}")
    found = np.unique(hits.items[hits.items >= 0])
    if not found.size:
        return best(hits.items, hits.scores, k)
    rows, queries = unit(np.asarray(vectors(found), np.float32)), unit(queries)
    places = np.clip(np.searchsorted(found, hits.items), 0, len(found) - 1)
    scores = np.stack(
        [rows[place] @ query for place, query in zip(places, queries, strict=True)]
    ).astype(np.float32)
    return best(hits.items, scores, k)
