"""Anchors of parts of a space, for SSP."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hotfill.errors import InputError
from hotfill.extras import need
from hotfill.vectors import check_vectors, unit


def product_centroids(
    vectors: Any, *, parts: int = 32, centroids: int = 256, seed: int = 0
) -> Tensor:
    """Centroids of a product quantiser of gallery vectors: (parts, centroids, dimension / parts).

    vectors: (n, dimension), n >= centroids; of other items than those trained on, in the paper.
    Ten k-means iterations and two restarts, as in SSP. Needs the extra `faiss`.
    Raises InputError, ShapeError, VectorError.
    """
    faiss = need("faiss", "faiss")
    table = check_vectors(vectors, np.shape(vectors)[-1], what="gallery vectors")
    count, dimension = table.shape
    if parts < 1 or dimension % parts or not 2 <= centroids <= count:
        raise InputError(
            f"expected parts that divide {dimension} and 2 to {count} centroids (one vector each), "
            f"got {parts} parts and {centroids} centroids"
        )
    table = unit(table)
    width, found = dimension // parts, []
    for part in range(parts):
        kmeans = faiss.Kmeans(
            width, centroids, niter=10, nredo=2, seed=seed + part, min_points_per_centroid=1
        )
        kmeans.train(np.ascontiguousarray(table[:, part * width : (part + 1) * width]))
        found.append(torch.from_numpy(kmeans.centroids.copy()))
    return torch.stack(found)
