"""An old side of the gallery, and how it is searched with a query of the new model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, final, runtime_checkable

import numpy as np

from hotfill.checks import check_vectors
from hotfill.errors import InputError, ModelMismatchError, ShapeError
from hotfill.scoring.compare import of_unit_length

if TYPE_CHECKING:
    from hotfill.scoring.calibration import Calibration
    from hotfill.types import ModelId, Transform, Vectors


@runtime_checkable
class Bridge(Protocol):
    """A transform of queries that can also score stored old vectors exactly.

    Called, it gives the vectors to search with, whose scores only approximate. The exact score is
    the inner product of the two features.
    """

    @property
    def overfetch(self) -> int:
        """How many times k hits to search for, so that the exact k best are among them."""
        ...

    def query_features(self, queries: Vectors, /) -> Vectors:
        """Features of new-model queries: float32 (q, f)."""
        ...

    def gallery_features(self, vectors: Vectors, /) -> Vectors:
        """Features of old vectors: float32 (n, f)."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One old side of the gallery and how it is searched with a query of the new model.

    model: the old space.
    transform: new model's queries to vectors that search this side; None where the caller embeds
        each query with the old model too. A `Bridge` scores the best hits a second time, exactly.
    calibration: the side's scores to the new side's scale.
    reference: vectors of the reference items in this space, float32 (r, dimension).
    own_share: of an item's calibrated score, what the query embedded by the side's own model has to
        say beside the transform's; 0 to less than 1. Counts for queries that come with it.
    """

    model: ModelId
    transform: Transform | None
    calibration: Calibration
    reference: Vectors
    own_share: float = 0.0


def checked_side(side: Side, new_model: ModelId, references: int) -> Side:
    """Refuse what does not belong to these models; give the side with its reference frozen."""
    if side.transform is not None:
        for what, expected, received in (
            ("the source of a side's transform", new_model, side.transform.source),
            ("the target of a side's transform", side.model, side.transform.target),
        ):
            if expected != received:
                raise ModelMismatchError(what, expected, received)
    if not 0 <= side.own_share < 1:
        raise InputError(f"own_share: expected 0 to less than 1, got {side.own_share}")
    reference = frozen_reference(side.reference, side.model)
    if len(reference) != references:
        raise ShapeError(
            f"expected {references} reference items on every side, got {len(reference)} "
            f"of {side.model}"
        )
    return replace(side, reference=reference)


def frozen_reference(vectors: Any, model: ModelId) -> Vectors:
    """Copy reference vectors, of unit length, so that nobody can write to them."""
    checked = check_vectors(vectors, model.dimension, what=f"reference vectors of {model.name}")
    lengths = np.linalg.norm(checked, axis=1)
    if np.any(np.abs(lengths - 1) > 1e-6):  # so that a saved scorer comes back bit for bit
        checked = of_unit_length(checked, model)  # once, not for every query
    copy = checked.copy()
    copy.flags.writeable = False
    return copy
