"""A stack of linear layers with ReLU between them, as named arrays: how trained networks are kept.

Batch normalisation is an affine map once training is over, so it is folded into the layer before
it when a network is exported; what is left needs numpy only.

Layer i of the stack "psi" is two arrays: "psi.matrix_i" (in, out) and "psi.offset_i" (out,).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotfill.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.types import Vectors


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
