"""The identity: for a new model that was trained to be compatible with the old one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from hotfill.errors import ShapeError
from hotfill.transforms.base import Transform

if TYPE_CHECKING:
    from hotfill.types import ModelId, Vectors


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
