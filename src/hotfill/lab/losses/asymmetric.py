"""Recipes for a small query model that searches a fixed, larger model's gallery.

`old` is the gallery model here: its vectors of the training items are the targets. `head` is the
query model's own classifier; without one the recipe needs no labels. BCT (`recipes.bct`, the
weights of CMP-NAS) and plain regression (`recipes.l2`, AML's Reg and FitNet) stand with the others.

Left out: PrunNet, whose gradients of four sub-networks are combined by hand, which is a training
loop of its own and no loss; ROP, known from one paragraph; relational distillation without absolute
coordinates (RKD, PKT, DarkRank), which asymmetric search cannot use at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hotfill.errors import InputError
from hotfill.extras import need
from hotfill.lab.losses.head import Head
from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.recipe import Part, Recipe
from hotfill.lab.losses.term import Term
from hotfill.lab.losses.terms import (
    AnchorSoftmax,
    AsymmetricContrast,
    ContextualSimilarity,
    DifferentialSimilarity,
    RelationalRegression,
    StructureSimilarity,
)
from hotfill.vectors import check_vectors, unit


def aml(
    head: Head | None = None,
    *,
    down: SpaceMap | None = None,
    margin: float = 0.755,
    itself: bool = True,
    weight: float = 1.0,
) -> Recipe:
    """AML's contrastive loss (Budnik & Avrithis, CVPR 2021); `itself` makes it Contr+."""
    return _recipe("aml", AsymmetricContrast(margin, itself=itself), weight, head, down)


def csd(
    head: Head | None = None,
    *,
    down: SpaceMap | None = None,
    neighbours: int = 255,
    query_temperature: float = 1.0,
    weight: float = 10.0,
) -> Recipe:
    """CSD (Wu et al., CVPR 2022); weight and temperatures of the library it was read in."""
    term = ContextualSimilarity(neighbours, query_temperature=query_temperature)
    return _recipe("csd", term, weight, head, down)


def ssp(
    anchors: Tensor,
    head: Head | None = None,
    *,
    down: SpaceMap | None = None,
    sharpness: float = 10.0,
    weight: float = 1.0,
) -> Recipe:
    """SSP (Wu et al., arXiv 2403.00648). anchors: `product_centroids`."""
    return _recipe("ssp", StructureSimilarity(anchors, sharpness=sharpness), weight, head, down)


def raml(
    head: Head | None = None,
    *,
    down: SpaceMap | None = None,
    across: float = 0.7,
    within: float = 0.7,
    weight: float = 1.0,
) -> Recipe:
    """RAML (Suma & Tolias, WACV 2023), over the items of a batch; see the Term."""
    return _recipe("raml", RelationalRegression(across=across, within=within), weight, head, down)


def d3still(
    head: Head | None = None,
    *,
    down: SpaceMap | None = None,
    neighbours: int = 10,
    feature: float = 100.0,
    wrong: float = 5.0,
    right: float = 1.0,
    weight: float = 1.0,
) -> Recipe:
    """D3still (Xie et al., CVPR 2024)."""
    term = DifferentialSimilarity(neighbours, feature=feature, wrong=wrong, right=right)
    return _recipe("d3still", term, weight, head, down)


def _recipe(
    name: str, term: Term, weight: float, head: Head | None, down: SpaceMap | None
) -> Recipe:
    parts = [Part("distillation", term, weight, "down")]
    if head is not None:
        parts.insert(0, Part("classification", AnchorSoftmax("new", head.score)))
    return Recipe(name, parts, head=head, down=down)


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
