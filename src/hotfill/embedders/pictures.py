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

_DEEP = ("I;16", "I")
"""Modes in which Pillow opens pictures with 16 bits of grey."""


def as_picture(content: Any) -> Image:
    """Return an RGB picture of Pillow, as a viewer shows it.

    It is turned as its EXIF note says, put on white where it is transparent, and brought to 8 bits.

    content: a Pillow picture, the bytes or the path of an image file, or an array of uint8 or bool
        (True = white), (height, width) or (height, width, 3).
    Raises InputError when it is none of these or cannot be decoded.
    """
    images: Any = need("PIL.Image", "timm")
    if isinstance(content, images.Image):
        return _as_shown(content)
    if isinstance(content, np.ndarray):
        return images.fromarray(_bytes_of_array(content)).convert("RGB")  # type: ignore[no-any-return]
    if not isinstance(content, bytes | Path):
        raise InputError(f"expected a picture, got {type(content).__name__}")
    try:
        with images.open(io.BytesIO(content) if isinstance(content, bytes) else content) as opened:
            return _as_shown(opened)
    except (OSError, ValueError, SyntaxError, images.DecompressionBombError) as error:
        raise InputError(f"expected a readable picture: {error}") from error


def _as_shown(picture: Image) -> Image:
    images: Any = need("PIL.Image", "timm")
    turned = need("PIL.ImageOps", "timm").exif_transpose(picture)
    if turned.mode.startswith(_DEEP):  # 16 bits, of which `convert` would keep the lowest 8
        grey = np.asarray(turned).astype(np.float64) * (255 / 65535)
        turned = images.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    if turned.has_transparency_data:
        whole = turned.convert("RGBA")
        turned = images.alpha_composite(images.new("RGBA", whole.size, "white"), whole)
    return turned.convert("RGB")  # type: ignore[no-any-return]


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
