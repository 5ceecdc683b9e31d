"""One picture as the tensor that a network was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from hotfill.embedders.pictures import as_picture
from hotfill.errors import InputError
from hotfill.lab.training.items import as_tensor


def scaled(content: Any, side: int, channels: int) -> Tensor:
    """Return (channels, side, side), 0 to 1, of whatever `as_picture` takes. Raises InputError."""
    mode = "L" if channels == 1 else "RGB"
    picture = np.asarray(as_picture(content).convert(mode).resize((side, side)))
    return as_tensor(picture.reshape(1, side, side, channels))[0]


def as_given(content: Any, channels: int) -> Tensor:
    """Return (channels, height, width) of an array (height, width[, channels]), its size kept.

    Raises InputError when it is no such array of bool, uint8 or float.
    """
    array = np.asarray(content)
    if array.ndim not in (2, 3) or array.dtype.kind not in "buf":
        raise InputError(
            f"expected (height, width[, channels]) of bool, uint8 or float, got {array.dtype} "
            f"{array.shape}"
        )
    picture = as_tensor(array[None])[0]
    if len(picture) != channels:
        raise InputError(f"expected {channels} channels, got {len(picture)}")
    return picture
