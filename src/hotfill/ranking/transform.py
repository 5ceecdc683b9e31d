"""The base of all transforms: two model ids, frozen arrays, one way to apply and to save them."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, TypeAlias, final

import numpy as np

from hotfill.errors import ShapeError, VectorError
from hotfill.files import save_stamped
from hotfill.vectors import Checked, as_compared, check_vectors, checked, has_free_length, unit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hotfill.types import ModelId, Vectors


Facts: TypeAlias = "Mapping[str, str | float | int]"
"""How a transform was fitted and how well: method, pairs, penalty, held-out cosine ..."""

STAMP = "hotfill.transform"
BATCH_ROWS = 4096  # rows mapped at once; bounds the memory of a call, its result apart


class StampedTransform(ABC):
    """Carries vectors from one space to another. Abstract; see `Affine`, `KernelMap`, `MlpMap`.

    source, target: the two spaces. arrays: the weights, copied and frozen. facts: for people.

    Where a space compares by the cosine, or its vectors are stamped as normalised, length carries
    no meaning there: rows are brought to unit length on the way in and on the way out, so that a
    store which normalises what it keeps gives the same result as one which does not.
    """

    kind: ClassVar[str]
    """The word for this class in a file."""

    keeps_length: ClassVar[bool] = False
    """Whether what it gives keeps its length even where the target's vectors are of unit length."""

    @final
    def __init__(
        self,
        source: ModelId,
        target: ModelId,
        arrays: Mapping[str, np.ndarray],
        facts: Facts | None = None,
    ) -> None:
        self._source = source
        self._target = target
        self._arrays = {name: _frozen(name, array) for name, array in sorted(arrays.items())}
        self._facts = dict(facts or {})
        self._check()
        self._fingerprint = _fingerprint(self)

    @property
    def source(self) -> ModelId:
        """The space of the vectors taken."""
        return self._source

    @property
    def target(self) -> ModelId:
        """The space of the vectors given."""
        return self._target

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that differ whenever the spaces or any weight differ."""
        return self._fingerprint

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """The weights by name, read-only."""
        return dict(self._arrays)

    @property
    def facts(self) -> dict[str, str | float | int]:
        """How it was fitted and how well, for reports."""
        return dict(self._facts)

    @final
    def __call__(self, vectors: Vectors, /) -> Vectors:
        """Map (n, source.dimension) to float32 (n, target.dimension).

        Raises ShapeError, VectorError (NaN, infinite, all zero, or mapped to length zero).
        """
        given = check_vectors(vectors, self.source.dimension, what=f"vectors of {self.source.name}")
        return self._mapped(given, self.source)

    @final
    def carry(self, vectors: Checked) -> Checked:
        """Map vectors of `source` that were checked to checked ones of `target`.

        Raises VectorError (mapped to length zero or out of range), ShapeError where what it gives
        keeps a length of its own (`keeps_length`): it is not as the target's vectors are.
        """
        if self.keeps_length:
            raise ShapeError(f"{self} gives vectors to store, not to search with")
        stored_as_compared = vectors.model if vectors.model.metric != "cosine" else None
        mapped = self._mapped(vectors.rows, stored_as_compared)
        if has_free_length(self.target):
            return checked(mapped, self.target, what="mapped vectors")
        return Checked(mapped, self.target)

    @final
    def _mapped(self, given: Vectors, compared_in: ModelId | None) -> Vectors:
        """Map in batches. compared_in: None for rows that are as their space compares them."""
        mapped = np.empty((len(given), self.target.dimension), dtype=np.float32)
        for start in range(0, len(given), BATCH_ROWS):
            rows = given[start : start + BATCH_ROWS]
            mapped[start : start + BATCH_ROWS] = self._map(
                rows if compared_in is None else as_compared(rows, compared_in)
            )
        if not has_free_length(self.target):
            _refuse_zero(mapped)
            if not self.keeps_length:
                mapped = unit(mapped)
        return mapped

    @final
    def save(self, path: str | Path) -> None:
        """Write to a safetensors file: weights, both model ids, facts. No pickle."""
        stamp = {
            "kind": self.kind,
            "source": self.source.to_dict(),
            "target": self.target.to_dict(),
            "fingerprint": self.fingerprint,
            "facts": self.facts,
        }
        save_stamped(path, STAMP, stamp, self.arrays)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.source} -> {self.target}, {self.fingerprint})"

    @final
    def _check_shapes(self, what: str, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Raise ShapeError unless the arrays are exactly these. what: "an affine map", say."""
        got = {name: array.shape for name, array in self._arrays.items()}
        if got != expected:
            raise ShapeError(f"{what} between these spaces has {expected}, got {got}")

    @abstractmethod
    def _check(self) -> None:
        """Raise ShapeError or ConfigError where arrays and spaces do not fit together."""

    @abstractmethod
    def _map(self, rows: Vectors) -> Vectors:
        """Map checked rows; the length of the result is dealt with by the caller."""


def _refuse_zero(mapped: Vectors) -> None:
    lengths = np.linalg.norm(mapped, axis=1)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if bad.size:
        raise VectorError(
            f"{bad.size} of {len(mapped)} vectors were mapped to length zero or out of range, "
            f"first row {bad[0]}; are they really of the transform's source model?",
            [f"row {row}" for row in bad[:1000]],
        )


def _frozen(name: str, array: np.ndarray) -> np.ndarray:
    copy = np.array(array, dtype=np.float32, order="C")
    if not np.all(np.isfinite(copy)):
        raise VectorError(f"the transform's weights {name!r} hold NaN or infinite values")
    copy.flags.writeable = False
    return copy


def _fingerprint(transform: StampedTransform) -> str:
    digest = hashlib.sha256()
    stamp = [transform.kind, transform.source.to_dict(), transform.target.to_dict()]
    digest.update(json.dumps(stamp, sort_keys=True).encode())
    for name, array in transform.arrays.items():
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:12]


@final
class Identity(StampedTransform):
    """x -> x, between two spaces of one dimension that are compared in the same way."""

    kind: ClassVar[str] = "identity"

    def _check(self) -> None:
        if self._arrays:
            raise ShapeError(f"an identity has no weights, got {', '.join(self._arrays)}")
        if self.source.dimension != self.target.dimension:
            raise ShapeError(
                f"an identity needs equal dimensions, got {self.source.dimension} and "
                f"{self.target.dimension}; compatible models share one, others need a fitted "
                "transform (ridge, procrustes)"
            )
        if self.source.metric != self.target.metric:
            raise ShapeError(
                f"an identity needs one metric, got {self.source.metric} and {self.target.metric}"
            )

    def _map(self, rows: Vectors) -> Vectors:
        return rows


def identity(source: ModelId, target: ModelId) -> Identity:
    """Make the transform of the `compatible` strategy. Raises ShapeError where it cannot be one."""
    return Identity(source, target, {}, {"method": "identity"})


@final
class Affine(StampedTransform):
    """x -> x matrix + offset.

    arrays: matrix (source.dimension, target.dimension), offset (target.dimension,).
    """

    kind: ClassVar[str] = "affine"

    @property
    def matrix(self) -> np.ndarray:
        """Float32 (source.dimension, target.dimension), read-only."""
        return self._arrays["matrix"]

    @property
    def offset(self) -> np.ndarray:
        """Float32 (target.dimension,), read-only."""
        return self._arrays["offset"]

    def _check(self) -> None:
        expected = {
            "matrix": (self.source.dimension, self.target.dimension),
            "offset": (self.target.dimension,),
        }
        self._check_shapes("an affine map", expected)

    def _map(self, rows: Vectors) -> Vectors:
        return np.asarray(rows @ self.matrix + self.offset, dtype=np.float32)
