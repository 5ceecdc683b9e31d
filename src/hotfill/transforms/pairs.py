"""Paired vectors: row i of both arrays is the same item, seen by two models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.checks import check_vectors
from hotfill.errors import InputError, ShapeError, VectorError
from hotfill.transforms.base import as_compared

if TYPE_CHECKING:
    from hotfill.types import ModelId, Vectors


def check_pairs(
    source_vectors: Any, target_vectors: Any, *, source: ModelId, target: ModelId, least: int = 1
) -> tuple[Vectors, Vectors]:
    """Return both arrays as their spaces compare them, or raise.

    least: how many pairs the caller needs.
    Raises ShapeError (rows that do not match, dimensions), VectorError (NaN, infinite, all zero),
    InputError (too few pairs).
    """
    first = check_vectors(source_vectors, source.dimension, what=f"vectors of {source.name}")
    second = check_vectors(target_vectors, target.dimension, what=f"vectors of {target.name}")
    if len(first) != len(second):
        raise ShapeError(
            f"expected one {target.name} vector per {source.name} vector of the same item, "
            f"got {len(first)} and {len(second)} rows"
        )
    if len(first) < least:
        raise InputError(
            f"{len(first)} pairs are too few: at least {least} are needed here, and 2,000 or more "
            "give a good fit; embed more items with both models"
        )
    return as_compared(first, source), as_compared(second, target)


def varied_pairs(
    source_vectors: Any, target_vectors: Any, *, source: ModelId, target: ModelId, least: int
) -> tuple[Vectors, Vectors]:
    """Do the same for what is to be learned from: neither side may be one vector again and again.

    Raises as `check_pairs`, and VectorError.
    """
    first, second = check_pairs(
        source_vectors, target_vectors, source=source, target=target, least=least
    )
    refuse_constant(first, source)
    refuse_constant(second, target)
    return first, second


def refuse_constant(vectors: np.ndarray, model: ModelId) -> None:
    """Raise VectorError where all rows are one vector, from which nothing can be learned."""
    if len(vectors) and np.allclose(vectors, vectors[0], rtol=0, atol=1e-6):
        raise VectorError(
            f"all {len(vectors)} vectors of {model} are the same; is the model's output constant?"
        )
