"""Queries by one model, gallery by another: does the new model work on what the old one wrote?

`compatibility_matrix[q, g]`: row = query model, column = gallery model, oldest first. Arguments are
always keywords, because the literature writes the pair in both orders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import InputError, ShapeError
from hotfill.rehearsal.backfill_evaluation import Figures, evaluate_side
from hotfill.rehearsal.sample import EmbeddedBy
from hotfill.vectors import check_vectors, unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.metrics import Relevance

FIGURES = ("map", "hit_rate@1", "ndcg@10")


def cross_test(
    *,
    query_model: EmbeddedBy,
    gallery_model: EmbeddedBy,
    relevance: Relevance,
    exclude: Any = None,
) -> Figures:
    """Search one model's gallery with another model's queries, over full rankings.

    Raises ShapeError where the two dimensions differ: such models need a transform first.
    """
    queries, gallery = np.asarray(query_model.queries), np.asarray(gallery_model.gallery)
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ShapeError(
            f"cross test: queries {queries.shape} and gallery {gallery.shape} need one dimension; "
            "map one side with a transform first"
        )
    left = _unit(queries, "query vectors")
    right = _unit(gallery, "gallery vectors")
    return evaluate_side(lambda rows: left[rows] @ right.T, relevance, exclude=exclude).mean


def self_test(*, model: EmbeddedBy, relevance: Relevance, exclude: Any = None) -> Figures:
    """Search a model's gallery with its own queries."""
    return cross_test(query_model=model, gallery_model=model, relevance=relevance, exclude=exclude)


def is_compatible(*, new_to_old: float, old: float) -> bool:
    """BCT's criterion M(new, old) > M(old, old): strict, so that a tie does not count."""
    return new_to_old > old


@dataclass(frozen=True, slots=True, eq=False)
class CompatibilityMatrix:
    """Quality of every query model on every gallery model.

    models: names, oldest first. values: float64 (models, models), [query, gallery]; NaN where the
        dimensions differ. figure: "map", "hit_rate@1" or "ndcg@10".
    """

    models: tuple[str, ...]
    values: NDArray[np.float64]
    figure: str

    def at(self, *, query_model: str, gallery_model: str) -> float:
        """Read one cell by the names of its sides."""
        for name in (query_model, gallery_model):
            if name not in self.models:
                raise InputError(f"expected one of {', '.join(self.models)}, got {name!r}")
        row, column = self.models.index(query_model), self.models.index(gallery_model)
        return float(self.values[row, column])

    def compatible(self, *, query_model: str, gallery_model: str) -> bool:
        """Tell whether the query model beats the gallery model on the latter's own gallery."""
        return is_compatible(
            new_to_old=self.at(query_model=query_model, gallery_model=gallery_model),
            old=self.at(query_model=gallery_model, gallery_model=gallery_model),
        )


def compatibility_matrix(
    models: Mapping[str, EmbeddedBy],
    relevance: Relevance,
    *,
    figure: str = "map",
    exclude: Any = None,
) -> CompatibilityMatrix:
    """Test every pair of models. models: by name, oldest first.

    `hotfill.metrics` turns `values` into AC, AM, BC and FC (which read the lower triangle).
    """
    if figure not in FIGURES:
        raise InputError(f"figure must be one of {', '.join(FIGURES)}, got {figure!r}")
    names = tuple(models)
    values = np.full((len(names), len(names)), np.nan)
    for row, query_model in enumerate(names):
        for column, gallery_model in enumerate(names):
            query_side, gallery_side = models[query_model], models[gallery_model]
            if np.shape(query_side.queries)[1:] == np.shape(gallery_side.gallery)[1:]:
                quality = cross_test(
                    query_model=query_side,
                    gallery_model=gallery_side,
                    relevance=relevance,
                    exclude=exclude,
                )
                values[row, column] = quality.to_dict()[figure]
    return CompatibilityMatrix(names, values, figure)


def _unit(vectors: NDArray[Any], what: str) -> NDArray[np.float32]:
    return unit(check_vectors(vectors, vectors.shape[1], what=what))
