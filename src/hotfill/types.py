"""The words that every part shares: model ids, embedders, transforms, sources.

Values here are frozen; a change makes a new value.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Vectors: TypeAlias = NDArray[np.float32]
"""Float32, shape (n, dimension), one row per item."""

Metric: TypeAlias = Literal["cosine", "dot", "l2"]
"""How two vectors of one space are compared."""


@dataclass(frozen=True, slots=True)
class ModelId:
    """The identity of an embedding space. Two spaces are equal only if every field is.

    name: the model, for example "all-MiniLM-L6-v2".
    revision: weights or release, for example a hash or a date.
    dimension: length of a vector, >= 1.
    metric: how vectors are compared. Scores are always "higher is better": the cosine, the inner
        product, or the negative Euclidean distance.
    normalised: whether the vectors have unit length.
    preprocessing: whatever is done before the model (prompt, crop, quantisation); free text.
    """

    name: str
    revision: str
    dimension: int
    metric: Metric = "cosine"
    normalised: bool = True
    preprocessing: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a model id needs a name; got an empty one")
        if self.dimension < 1:
            raise ConfigError(f"model {self.name!r}: dimension must be >= 1, got {self.dimension}")
        if self.metric not in get_args(Metric):
            raise ConfigError(
                f"model {self.name!r}: metric must be one of {', '.join(get_args(Metric))}, "
                f"got {self.metric!r}"
            )

    def __eq__(self, other: object) -> bool:
        if self is other:  # nearly always, and a search asks a dozen times
            return True
        if not isinstance(other, ModelId):
            return NotImplemented
        return self._values == other._values

    @property
    def _values(self) -> tuple[str | int | bool, ...]:
        return (
            self.name,
            self.revision,
            self.dimension,
            self.metric,
            self.normalised,
            self.preprocessing,
        )

    def __str__(self) -> str:
        return f"{self.name}@{self.revision} ({self.dimension}-d, {self.fingerprint})"

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that differ whenever any field differs."""
        return _fingerprint(self)

    def differences(self, other: ModelId) -> str:
        """Name the fields in which two ids differ: "revision 'a' != 'b', dimension 64 != 128"."""
        parts = [
            f"{field.name} {getattr(self, field.name)!r} != {getattr(other, field.name)!r}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        ]
        return ", ".join(parts) or "no difference"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON and TOML."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelId:
        """Build from plain values. Raises ConfigError on a missing or unknown field."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        missing = sorted({"name", "revision", "dimension"} - set(values))
        if unknown or missing:
            raise ConfigError(
                f"a model id takes {', '.join(sorted(known))}; "
                f"unknown: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}"
            )
        return cls(**values)


@lru_cache(maxsize=1024)
def _fingerprint(model: ModelId) -> str:
    canonical = json.dumps(model.to_dict(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


@runtime_checkable
class Embedder(Protocol):
    """Makes vectors from contents (texts, images, whatever the model reads)."""

    @property
    def model_id(self) -> ModelId:
        """The space that the vectors live in."""
        ...

    def __call__(self, contents: Sequence[Any], /) -> Vectors:
        """Embed contents: float32 (n, dimension), rows in the order given.

        Raises EmbedError if any content fails, naming its row; never returns fewer rows.
        """
        ...


@runtime_checkable
class Transform(Protocol):
    """Carries vectors from one space to another: `up` old to new, `down` new to old."""

    @property
    def source(self) -> ModelId:
        """The space of the vectors taken."""
        ...

    @property
    def target(self) -> ModelId:
        """The space of the vectors given."""
        ...

    @property
    def fingerprint(self) -> str:
        """Differs whenever the spaces or any weight differ."""
        ...

    def __call__(self, vectors: Vectors, /) -> Vectors:
        """Map (n, source.dimension) to float32 (n, target.dimension)."""
        ...


@runtime_checkable
class Source(Protocol):
    """Gives the content of items, so that they can be embedded again."""

    def __call__(self, item_ids: Sequence[str], /) -> Mapping[str, Any]:
        """Read contents by item id. An id without content is left out of the mapping."""
        ...
