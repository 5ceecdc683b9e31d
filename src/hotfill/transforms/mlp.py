"""The multi-layer perceptron: what the reverse query transform and the learned new space are."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from hotfill.errors import ShapeError
from hotfill.transforms.base import Transform
from hotfill.transforms.stack import apply_stack, check_stack, refuse_others

if TYPE_CHECKING:
    from hotfill.types import Vectors

STACK = "layers"


@final
class Mlp(Transform):
    """x -> (... relu(x M_0 + o_0) M_1 + o_1 ...); the last layer without ReLU. Numpy only.

    arrays: a stack "layers" from source.dimension to target.dimension; see `stack`. Trained by
    `hotfill.training.transforms`, with batch normalisation already folded in.
    """

    kind: ClassVar[str] = "mlp"

    def _check(self) -> None:
        refuse_others(self._arrays, {STACK})
        got, wanted = (
            check_stack(self._arrays, STACK),
            (self.source.dimension, self.target.dimension),
        )
        if got != wanted:
            raise ShapeError(f"an MLP between these spaces goes from and to {wanted}, got {got}")

    def _map(self, rows: Vectors) -> Vectors:
        return apply_stack(rows, self._arrays, STACK)
