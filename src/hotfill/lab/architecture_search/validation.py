"""The held-out split on which candidates are measured."""

from __future__ import annotations

from typing import final

from torch import nn

from hotfill.errors import InputError, ShapeError
from hotfill.lab.architecture_search.gallery_model import GalleryVectors
from hotfill.lab.architecture_search.reward import Measured
from hotfill.lab.training import Items, embed
from hotfill.metrics import average_precision, rank_scores, same_label
from hotfill.types import ModelId, Vectors


@final
class Validation:
    """Labelled queries and gallery items that no model was trained on.

    vectors: of the gallery items, by the gallery model. gallery_model: the model they must be of.
    The quality is mean average precision over the full ranking by cosine: with a small split a
    figure that looks at every relevant item is steadier than the first result.
    Raises ModelMismatchError, InputError.
    """

    def __init__(
        self, queries: Items, gallery: Items, vectors: GalleryVectors, gallery_model: ModelId
    ) -> None:
        self.queries, self.gallery, self.gallery_model = queries, gallery, gallery_model
        self.vectors = vectors.of(gallery.item_ids, model=gallery_model)
        self.relevance = same_label(queries.labels, gallery.labels)
        if not bool((self.relevance.stops > self.relevance.starts).any()):
            raise InputError("validation: no query has a relevant gallery item; check the labels")

    def measure(self, network: nn.Module, *, device: str = "cpu") -> Measured:
        """Search with a query model. Raises ShapeError when its dimension is not the gallery's."""
        queries = embed(network, self.queries, device=device)
        if queries.shape[1] != self.gallery_model.dimension:
            raise ShapeError(
                f"the query model gives {queries.shape[1]} numbers, the gallery of "
                f"{self.gallery_model} has {self.gallery_model.dimension}; give the space the "
                "gallery model's dimension"
            )
        own = embed(network, self.gallery, device=device)
        return Measured(self._quality(queries, own), self._quality(queries, self.vectors))

    def _quality(self, queries: Vectors, gallery: Vectors) -> float:
        ranks = rank_scores(queries @ gallery.T, self.relevance)
        return float(average_precision(ranks).mean())
