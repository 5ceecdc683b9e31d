"""What makes the scores of an old side comparable with those of the new one.

A calibration turns scores of one old side into the scale of the new side; new scores stay as they
are. It is fitted on *reference items*: a sample that both models embedded, held out from the fit
of any transform. Every calibration rises strictly, so the order within a side never changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import ShapeError, VectorError

if TYPE_CHECKING:
    from collections.abc import Mapping

Scores: TypeAlias = NDArray[np.float32]


class Calibrated(ABC):
    """A calibration made ready for some queries."""

    @abstractmethod
    def __call__(self, query: int, scores: Scores) -> Scores:
        """Return the comparable scores of one query's hits, float32 (n,).

        query: row of the query among those prepared. scores: the side's own, float (n,).
        """


class Calibration(ABC):
    """Abstract; see `none`, `z_score`, `isotonic` and `tail`. Frozen."""

    kind: ClassVar[str]
    """The word for this class in a file."""

    per_query: ClassVar[bool]
    """Whether `prepare` looks at the scores of its queries against the reference items."""

    @property
    @abstractmethod
    def arrays(self) -> Mapping[str, NDArray[np.float64]]:
        """All parameters by name; the class can be built again from them as keywords."""

    @abstractmethod
    def prepare(self, old_reference: Scores, new_reference: Scores) -> Calibrated:
        """Make ready for q queries.

        old_reference, new_reference: (q, r) scores of the queries with r reference items on the
            old and on the new side, column by column the same items. Not looked at, and allowed
            to be empty, where `per_query` is False.
        """


@final
@dataclass(frozen=True, slots=True)
class Line(Calibrated):
    """score * scale + shift, one line per query or one for all. Scales are positive."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]

    def __call__(self, query: int, scores: Scores) -> Scores:
        """Put the scores on the query's line."""
        row = query if len(self.scale) > 1 else 0
        return np.asarray(scores * self.scale[row] + self.shift[row], dtype=np.float32)


@final
@dataclass(frozen=True, slots=True)
class Uncalibrated(Calibration):
    """Scores as they are: the naive merge, right only where the scales agree already."""

    kind: ClassVar[str] = "none"
    per_query: ClassVar[bool] = False

    @property
    def arrays(self) -> Mapping[str, NDArray[np.float64]]:
        """Nothing."""
        return {}

    def prepare(self, old_reference: Scores, new_reference: Scores) -> Calibrated:
        """Make ready: nothing to do."""
        return Line(np.ones(1), np.zeros(1))


def check_reference(old_scores: Scores, new_scores: Scores, least: int) -> None:
    """Raise where reference scores cannot be used: shapes differ, too few, NaN, constant."""
    if old_scores.ndim != 2 or old_scores.shape != new_scores.shape:
        raise ShapeError(
            "expected reference scores (queries, items) of one shape on both sides, got "
            f"{old_scores.shape} and {new_scores.shape}"
        )
    if old_scores.shape[1] < least:
        raise ShapeError(
            f"{old_scores.shape[1]} reference items are too few: at least {least} are needed here, "
            "and 500 give a steady calibration"
        )
    for name, scores in (("old", old_scores), ("new", new_scores)):
        if not np.all(np.isfinite(scores)):
            raise VectorError(f"reference scores of the {name} side hold NaN or infinite values")
        if np.ptp(scores) <= 0:
            raise VectorError(
                f"all reference scores of the {name} side are equal; are its vectors constant?"
            )
