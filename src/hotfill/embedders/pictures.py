"""Contents that are pictures, in whatever form they come."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError
from hotfill.extras import need

if TYPE_CHECKING:
    from PIL.Image import Image


def as_picture(content: Any) -> Image:
    """Return an RGB picture of Pillow.

    content: a Pillow picture, the bytes or the path of an image file, or an array of uint8 or bool
        (True = white), (height, width) or (height, width, 3).
    Raises InputError when it is none of these or cannot be decoded.
    """
    images: Any = need("PIL.Image", "timm")
    if isinstance(content, images.Image):
        return content.convert("RGB")  # type: ignore[no-any-return]
    if isinstance(content, np.ndarray):
        return images.fromarray(_bytes_of_array(content)).convert("RGB")  # type: ignore[no-any-return]
    if not isinstance(content, bytes | Path):
        raise InputError(f"expected a picture, got {type(content).__name__}")
    try:
        with images.open(io.BytesIO(content) if isinstance(content, bytes) else content) as opened:
            return opened.convert("RGB")  # type: ignore[no-any-return]
    except (OSError, ValueError, SyntaxError, images.DecompressionBombError) as error:
        raise InputError(f"expected a readable picture: {error}") from error


def _bytes_of_array(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
    if array.dtype == np.bool_ and fits:
        return array.astype(np.uint8) * 255
    if array.dtype != np.uint8 or not fits:
        raise InputError(
            f"expected uint8 or bool (height, width) or (height, width, 3), got {array.dtype} "
            f"{array.shape}"
        )
    return array
