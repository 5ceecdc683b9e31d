"""The base of all transforms: two model ids, frozen arrays, one way to apply and to save them."""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias, final

import numpy as np

from hotfill.errors import ShapeError, VectorError
from hotfill.vectors import check_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.types import ModelId, Vectors


# Transforms into files: safetensors with a stamp -------------------------------------------------

STAMP = "hotfill.transform"  # the one metadata key; its value is JSON
FORMAT = 1


def save(path: str | Path, arrays: Mapping[str, np.ndarray], stamp: Mapping[str, object]) -> None:
    """Write a transform's arrays, and what it says of itself, whole or not at all."""
    from safetensors.numpy import save as to_bytes

    written = json.dumps({"format": FORMAT, **stamp})
    content = to_bytes(dict(arrays), metadata={STAMP: written})
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(target)


Facts: TypeAlias = "Mapping[str, str | float | int]"
"""How a transform was fitted and how well: method, pairs, penalty, held-out cosine ..."""

BATCH_ROWS = 4096  # rows mapped at once; bounds the memory of a call beside its result


class Transform(ABC):
    """Carries vectors from one space to another. Abstract; see `affine`, `identity`, `mlp`.

    source, target: the two spaces. arrays: the weights, copied and frozen. facts: for people.

    Where a space compares by the cosine, or its vectors are stamped as normalised, length carries
    no meaning there: rows are brought to unit length on the way in and on the way out, so that a
    store which normalises what it keeps gives the same result as one which does not.
    """

    kind: ClassVar[str]
    """The word for this class in a file."""

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
        mapped = np.empty((len(given), self.target.dimension), dtype=np.float32)
        for start in range(0, len(given), BATCH_ROWS):
            rows = as_compared(given[start : start + BATCH_ROWS], self.source)
            mapped[start : start + BATCH_ROWS] = self._map(rows)
        if not has_free_length(self.target):
            _refuse_zero(mapped)
            mapped = as_compared(mapped, self.target)
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
        save(path, self.arrays, stamp)

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


def has_free_length(model: ModelId) -> bool:
    """Tell whether the length of a vector means something in this space."""
    return model.metric != "cosine" and not model.normalised


def as_compared(vectors: Vectors, model: ModelId) -> Vectors:
    """Return the rows as the space compares them: of unit length unless length has a meaning."""
    if has_free_length(model):
        return vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, dtype=np.float32)


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


def _fingerprint(transform: Transform) -> str:
    digest = hashlib.sha256()
    stamp = [transform.kind, transform.source.to_dict(), transform.target.to_dict()]
    digest.update(json.dumps(stamp, sort_keys=True).encode())
    for name, array in transform.arrays.items():
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:12]


# The identity: for a new model that was trained to be compatible with the old one ----------------


@final
class Identity(Transform):
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


# The affine map: what ridge, Procrustes and low-rank fits all give -------------------------------


@final
class Affine(Transform):
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


# A straight map plus a small network: what BiCT and DMU train as their forward map ---------------
#     x -> x S + relu(x W_1 + o_1) W_2 + o_2
# Source: our reading of the abstracts of BiCT and DMU; see `hotfill.lab.losses.maps.Residual`.


@final
class Residual(Transform):
    """See the module.

    arrays: straight (source, target), inner (source, hidden), inner_offset (hidden,),
    outer (hidden, target), outer_offset (target,).
    """

    kind: ClassVar[str] = "residual"

    def _check(self) -> None:
        source, target = self.source.dimension, self.target.dimension
        hidden = len(self._arrays.get("inner_offset", ()))
        expected = {
            "inner": (source, hidden),
            "inner_offset": (hidden,),
            "outer": (hidden, target),
            "outer_offset": (target,),
            "straight": (source, target),
        }
        self._check_shapes("a residual map", expected)

    def _map(self, rows: Vectors) -> Vectors:
        arrays = self._arrays
        inner = np.maximum(rows @ arrays["inner"] + arrays["inner_offset"], 0)
        mapped = rows @ arrays["straight"] + inner @ arrays["outer"] + arrays["outer_offset"]
        return np.asarray(mapped, dtype=np.float32)


# A stack of linear layers with ReLU between them, as named arrays: how trained networks are kept
# --- Batch normalisation is an affine map once training is over, so it is folded into the layer
# before it when a network is exported; what is left needs numpy only.
# Layer i of the stack "psi" is two arrays: "psi.matrix_i" (in, out) and "psi.offset_i" (out,).


def check_stack(arrays: Mapping[str, np.ndarray], name: str) -> tuple[int, int]:
    """Return the widths that a stack takes and gives. Raises ShapeError where layers do not fit."""
    depth = depth_of(arrays, name)
    if depth == 0:
        raise ShapeError(f"expected the layers of {name!r}, got none")
    taken, given = 0, 0
    for layer in range(depth):
        matrix, offset = arrays[f"{name}.matrix_{layer}"], arrays.get(f"{name}.offset_{layer}")
        if (
            matrix.ndim != 2
            or offset is None
            or offset.shape != (matrix.shape[1],)
            or (layer > 0 and matrix.shape[0] != given)
        ):
            raise ShapeError(
                f"layer {layer} of {name!r} does not fit: matrix {matrix.shape}, offset "
                f"{None if offset is None else offset.shape}, layer before gives {given}"
            )
        taken = matrix.shape[0] if layer == 0 else taken
        given = matrix.shape[1]
    return taken, given


def depth_of(arrays: Mapping[str, np.ndarray], name: str) -> int:
    """Count the layers of a stack."""
    depth = 0
    while f"{name}.matrix_{depth}" in arrays:
        depth += 1
    return depth


def apply_stack(
    rows: Vectors, arrays: Mapping[str, np.ndarray], name: str, *, last_relu: bool = False
) -> Vectors:
    """Send rows through a stack: ReLU after every layer, after the last only if asked."""
    depth = depth_of(arrays, name)
    for layer in range(depth):
        rows = rows @ arrays[f"{name}.matrix_{layer}"] + arrays[f"{name}.offset_{layer}"]
        if layer < depth - 1 or last_relu:
            rows = np.maximum(rows, 0, out=rows)
    return np.asarray(rows, dtype=np.float32)


def refuse_others(arrays: Mapping[str, np.ndarray], names: set[str]) -> None:
    """Raise ShapeError where an array does not belong to one of these stacks."""
    for array in arrays:
        stack, _, layer = array.partition(".")
        if stack not in names or not layer.startswith(("matrix_", "offset_")):
            raise ShapeError(f"expected layers of {', '.join(sorted(names))}; got {array!r}")
