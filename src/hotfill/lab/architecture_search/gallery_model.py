"""Whom a query model must agree with: the gallery model, and the split that tells how well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import nn

from hotfill.checks import check_ids
from hotfill.errors import InputError, ModelMismatchError, ShapeError
from hotfill.lab.architecture_search.evolution import Measured
from hotfill.lab.losses import Reference, Score
from hotfill.lab.training import TrainingItems
from hotfill.lab.training.items import embed
from hotfill.metrics import average_precision, rank_scores, same_label
from hotfill.types import ModelId, Vectors
from hotfill.vectors import check_vectors, unit


@dataclass(frozen=True, eq=False)
class GalleryModel:
    """What the training of a query model needs of the gallery model; not the model itself.

    model_id: the space. head: its frozen classifier (`losses.references.from_head`), with a row for
    each label of the query model's training set. score: how that classifier scores; the query
    model's own head scores in the same way (another normalisation there spoils both).
    Raises ShapeError when the head is of another dimension.
    """

    model_id: ModelId
    head: Reference
    score: Score

    def __post_init__(self) -> None:
        if self.head.dimension != self.model_id.dimension:
            raise ShapeError(
                f"gallery model {self.model_id}: expected a head of dimension "
                f"{self.model_id.dimension}, got {self.head.dimension}"
            )


@final
class GalleryVectors:
    """What the gallery model made of some items.

    model_id: the model that made them. Raises ShapeError, VectorError, DuplicateItemError.
    """

    def __init__(self, model_id: ModelId, item_ids: Sequence[str], vectors: Vectors) -> None:
        check_ids(item_ids)
        self.model_id = model_id
        self.vectors = check_vectors(
            vectors, model_id.dimension, item_ids=item_ids, what="gallery vectors"
        )
        self._row = {name: row for row, name in enumerate(item_ids)}

    def of(self, item_ids: Sequence[str], *, model: ModelId) -> Vectors:
        """The unit vectors of some items, in that order.

        Raises ModelMismatchError when another model made them, InputError naming missing items.
        """
        if model != self.model_id:
            raise ModelMismatchError("gallery vectors", model, self.model_id)
        missing = [name for name in item_ids if name not in self._row]
        if missing:
            raise InputError(
                f"gallery vectors: expected one for each of {len(item_ids)} items, but "
                f"{len(missing)} are missing, the first {missing[0]!r}; embed them with {model}"
            )
        found = self.vectors[[self._row[name] for name in item_ids]]
        return unit(found)


@final
class Validation:
    """Labelled queries and gallery items that no model was trained on.

    vectors: of the gallery items, by the gallery model. gallery_model: the model they must be of.
    The quality is mean average precision over the full ranking by cosine: with a small split a
    figure that looks at every relevant item is steadier than the first result.
    Raises ModelMismatchError, InputError.
    """

    def __init__(
        self,
        queries: TrainingItems,
        gallery: TrainingItems,
        vectors: GalleryVectors,
        gallery_model: ModelId,
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
