"""The large model whose gallery is searched: fixed, and known by its vectors and its classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from hotfill.checks import check_ids
from hotfill.errors import InputError, ModelMismatchError, ShapeError
from hotfill.lab.losses import Reference, Score
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
        return unit(self.vectors[[self._row[name] for name in item_ids]])
