"""What is fitted between the two models of an upgrade, seen from the engine.

The engine needs little of it: a map for prefilled vectors and a guess of where it errs. How queries
are ranked over both sides is the business of `hotfill.serving`; the engine only keeps the files
together, because they are worth nothing apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from hotfill.types import ModelId, Transform, Vectors


class Prepared(Protocol):
    """Queries made ready for every side; `hotfill.scoring.Prepared` is one."""

    @property
    def vectors(self) -> Mapping[ModelId, Vectors]:
        """What to search each side with, oldest space first."""
        ...

    def depth(self, k: int, /) -> int:
        """How many hits to search for on every side when k are wanted."""
        ...

    def rank(self, hits: Mapping[ModelId, Any], k: int, /, *, read: Any = None) -> list[Any]:
        """Merge what the sides found: per query `item_ids`, and `sides` from the oldest on."""
        ...


class Fit(Protocol):
    """What is fitted between the two models."""

    @property
    def up(self) -> Transform:
        """Carries old vectors into the new space, for `prefill`."""
        ...

    def uncertainty(self, old_vectors: Vectors, /) -> NDArray[np.floating]:
        """Guess how wrong the map is: (n,), higher is less sure."""
        ...

    def agreement(self, old_vectors: Vectors, new_vectors: Vectors, /) -> float:
        """Tell how well old vectors are ranked for new queries, 0 to 1, on held-out pairs."""
        ...

    def prepare(
        self, queries: Vectors, own_queries: Mapping[ModelId, Vectors] | None = None, /
    ) -> Prepared:
        """Make queries of the new model ready to search all sides.

        own_queries: the same embedded by old models, which may have a say of their own.
        """
        ...

    def save(self, folder: Path, /) -> None:
        """Write to a folder that exists."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ChainPairs:
    """Items with vectors of the new model, and of old ones where there are any.

    new: float32 (n, d_new). old: per old model, oldest first, which rows of `new` have a vector of
    it, int64 (m,), and these vectors, float32 (m, d_old).
    """

    new: Vectors
    old: Mapping[ModelId, tuple[NDArray[np.int64], Vectors]]


@dataclass(frozen=True, slots=True)
class Fitting:
    """How a fit comes to be, and comes back.

    fit: from paired vectors, row i of both being the same item: old (n, d_old), new (n, d_new).
    load: from the folder that `Fit.save` wrote.
    fit_chain: for several old sides; None where chains are not fitted.
    """

    fit: Callable[[Vectors, Vectors], Fit]
    load: Callable[[Path], Fit]
    fit_chain: Callable[[ChainPairs], Fit] | None = None
