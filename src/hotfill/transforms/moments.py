"""First and second moments of pairs, summed in float64 over batches.

All closed-form fits need no more of a million pairs than these: their memory is a few square
matrices of the two dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, final

import numpy as np

from hotfill.errors import VectorError
from hotfill.transforms.base import BATCH_ROWS

if TYPE_CHECKING:
    from hotfill.types import ModelId, Vectors


@final
@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """x -> x matrix + offset, float64: matrix (first, second), offset (second,)."""

    matrix: np.ndarray
    offset: np.ndarray


@final
class Moments:
    """Sums over pairs (x, y); grows with `add`, everything else only reads.

    first, second: dimensions of x and y. second_moments: whether y's own are summed too.
    """

    def __init__(self, first: int, second: int, *, second_moments: bool = False) -> None:
        self.count = 0
        self._x = np.zeros(first)
        self._y = np.zeros(second)
        self._xx = np.zeros((first, first))
        self._xy = np.zeros((first, second))
        self._yy = np.zeros((second, second)) if second_moments else None
        self._y_squares = 0.0

    def add(self, first: Vectors, second: Vectors) -> None:
        """Add a batch of pairs: (n, first), (n, second)."""
        self._forget()
        x, y = first.astype(np.float64), second.astype(np.float64)
        self.count += len(x)
        self._x += x.sum(axis=0)
        self._y += y.sum(axis=0)
        self._xx += x.T @ x
        self._xy += x.T @ y
        self._y_squares += float(np.square(y).sum())
        if self._yy is not None:
            self._yy += y.T @ y

    def add_all(self, first: Vectors, second: Vectors) -> None:
        """Add pairs in memory, batch by batch, so that only a batch is held in float64."""
        for start in range(0, len(first), BATCH_ROWS):
            stretch = slice(start, start + BATCH_ROWS)
            self.add(first[stretch], second[stretch])

    def join(self, other: Moments) -> None:
        """Add the pairs of another sum of the same kind."""
        self._forget()
        self.count += other.count
        self._x += other._x
        self._y += other._y
        self._xx += other._xx
        self._xy += other._xy
        self._y_squares += other._y_squares
        if self._yy is not None and other._yy is not None:
            self._yy += other._yy

    @property
    def mean_first(self) -> np.ndarray:
        """Mean of x, (first,)."""
        return self._x / self.count

    @property
    def mean_second(self) -> np.ndarray:
        """Mean of y, (second,)."""
        return self._y / self.count

    @cached_property
    def first_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Variances (first,), rising, and directions (columns) of x's covariance."""
        return _axes(self._xx / self.count - np.outer(self.mean_first, self.mean_first))

    @cached_property
    def second_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Variances (second,), rising, and directions (columns) of y's covariance."""
        if self._yy is None:
            raise ValueError("these moments were summed without second moments of y")
        return _axes(self._yy / self.count - np.outer(self.mean_second, self.mean_second))

    @cached_property
    def _projected(self) -> np.ndarray:
        crossed = self._xy / self.count - np.outer(self.mean_first, self.mean_second)
        return np.asarray(self.first_axes[1].T @ crossed)

    def ridge(self, penalty: float) -> Map:
        """Solve the ridge regression of y on x; see `ridge`. One decomposition serves all."""
        values, directions = self.first_axes
        # Directions without any spread carry nothing, and penalty 0 must not divide by 0.
        least = np.finfo(np.float64).eps * len(values) * float(values[-1])
        scale = np.where(
            values > least,
            1.0 / np.maximum(values + penalty * float(values.mean()), max(least, 1e-300)),
            0.0,
        )
        matrix = directions @ (scale[:, None] * self._projected)
        return Map(matrix, self.mean_second - self.mean_first @ matrix)

    def refuse_constant(self, first: ModelId, second: ModelId) -> None:
        """Raise VectorError where x or y never varies, from which nothing can be learned."""
        sums = (
            (first, float(np.trace(self._xx)), self._x),
            (second, self._y_squares, self._y),
        )
        for model, squares, total in sums:
            if squares - float(total @ total) / self.count <= 1e-9 * squares:
                raise VectorError(
                    f"all {self.count} vectors of {model} are the same; is its output constant?"
                )

    def _forget(self) -> None:
        for name in ("first_axes", "second_axes", "_projected"):
            self.__dict__.pop(name, None)


def _axes(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eigh(covariance)
    return np.maximum(values, 0.0), vectors
