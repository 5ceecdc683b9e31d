"""What the store underneath keeps of a code: a vector of two numbers that says where it lies."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.types import ModelId, Vectors

_MARK = "; kept as codes"
_HALF = 2**20  # float32 holds whole numbers up to 2^24 exactly


def pointer_space(model: ModelId) -> ModelId:
    """Name the space of the pointers to a space's codes."""
    return replace(
        model,
        dimension=2,
        metric="dot",  # so that no store changes the numbers
        normalised=False,
        preprocessing=model.preprocessing + _MARK,
    )


def is_pointer_space(model: ModelId) -> bool:
    """Tell whether a space holds pointers."""
    return model.dimension == 2 and model.preprocessing.endswith(_MARK)


def to_pointers(slots: NDArray[np.int64]) -> Vectors:
    """Write slot numbers, below 2^40, as float32 (n, 2); never zero, which stores refuse."""
    high, low = np.divmod(slots, _HALF)
    return np.stack([high, low + 1], axis=1).astype(np.float32)


def to_slots(pointers: Vectors) -> NDArray[np.int64]:
    """Read slot numbers back, int64 (n,)."""
    whole = pointers.astype(np.int64)
    return np.asarray(whole[:, 0] * _HALF + whole[:, 1] - 1)
