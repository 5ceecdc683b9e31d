"""How well embeddings find the drawings of the same character."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.omniglot.drawings import Drawings
from demo.omniglot.encoders import Encoder

# Queries ranked at once; bounds memory to about 50 MB on the evaluation split.
BLOCK = 500


@dataclass(frozen=True)
class Quality:
    """Means over the queries; both between 0 and 1, higher is better.

    mean_average_precision: over the full ranking. hit_rate_at_1: share of queries whose first
    result is relevant.
    """

    mean_average_precision: float
    hit_rate_at_1: float


def measure(encoder: Encoder, drawings: Drawings) -> Quality:
    """Search drawers 1 to 10 with drawers 11 to 20 by cosine; relevant = the same character."""
    queries, gallery = drawings.queries(), drawings.gallery()
    return rank_quality(
        encoder(queries.images), encoder(gallery.images), queries.labels, gallery.labels
    )


def rank_quality(
    query_embeddings: NDArray[np.float32],
    gallery_embeddings: NDArray[np.float32],
    query_labels: NDArray[np.int64],
    gallery_labels: NDArray[np.int64],
) -> Quality:
    """Quality of the full rankings by dot product.

    query_embeddings: (n, dimension), gallery_embeddings: (m, dimension), rows of unit length.
    query_labels: (n,), gallery_labels: (m,). Equal scores come in any order.
    Raises ValueError when a query has no relevant gallery item.
    """
    precisions: list[float] = []
    hits: list[bool] = []
    for start in range(0, len(query_embeddings), BLOCK):
        scores = query_embeddings[start : start + BLOCK] @ gallery_embeddings.T
        order = np.argsort(-scores, axis=1)
        relevant = gallery_labels[order] == query_labels[start : start + BLOCK, np.newaxis]
        for row in relevant:
            ranks = np.flatnonzero(row) + 1  # 1 = first
            if len(ranks) == 0:
                raise ValueError("a query has no relevant item in the gallery")
            precisions.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
            hits.append(bool(row[0]))
    return Quality(float(np.mean(precisions)), float(np.mean(hits)))
