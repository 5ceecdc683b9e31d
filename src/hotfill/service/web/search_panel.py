"""The search panel: one query each way that there is, and items to search with, as HTML."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError
from hotfill.service.web.templates import render
from hotfill.upgrade.side_by_side import content_of, side_by_side, some_contents

if TYPE_CHECKING:
    from hotfill.upgrade.upgrade import Upgrade

_LONGEST_TEXT = 300  # characters
_LARGEST_PICTURE = 96  # pixels
_TO_PICK = 24  # items
_PICTURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg"}  # by their first bytes


def search_panel(up: Upgrade, text: str | None, like: str | None, k: int) -> str:
    """Search for a text, or for the content of an item, and render what was found.

    Raises InputError (neither is given, no content of that item), EmbedError, SourceError,
    StoreError.
    """
    if not text and not like:
        raise InputError("give a text, or the id of an item to search with its content")
    content = text or content_of(up, like or "")
    columns = side_by_side(up, content, k)
    shown = {each.item_id: _shown(each.content) for column in columns for each in column.found}
    return render("found.html", columns=columns, shown=shown)


def items_to_pick(up: Upgrade) -> str:
    """Draw items and render each as a button that searches with it. Raises SourceError, StoreError.

    Contents that cannot be shown stand there by their ids.
    """
    contents = some_contents(up, _TO_PICK)
    return render("pick.html", items=[(name, *_shown(each)) for name, each in contents.items()])


def _shown(content: Any) -> tuple[str, str]:
    """Return a content as text and as picture, each empty where it is not of that kind."""
    if isinstance(content, dict):
        content = json.dumps(content, ensure_ascii=False, default=str)
    if isinstance(content, str):
        longer = len(content) > _LONGEST_TEXT
        return content[:_LONGEST_TEXT] + "\N{HORIZONTAL ELLIPSIS}" * longer, ""
    if isinstance(content, bytes):
        kind = next((kind for start, kind in _PICTURES.items() if content.startswith(start)), None)
        return "", _data_uri(content, kind) if kind else ""
    if isinstance(content, np.ndarray):
        content = _pillow(content)
    if hasattr(content, "thumbnail") and hasattr(content, "convert"):  # a picture of Pillow's
        small = content.convert("RGB")  # a copy
        small.thumbnail((_LARGEST_PICTURE, _LARGEST_PICTURE))
        png = io.BytesIO()
        small.save(png, format="PNG")
        return "", _data_uri(png.getvalue(), "png")
    return "", ""


def _pillow(pixels: np.ndarray) -> Any:
    """Make a picture of (h, w) bool, True is ink, or of (h, w) or (h, w, 3) bytes; else None."""
    if pixels.dtype == bool and pixels.ndim == 2:
        pixels = np.where(pixels, 0, 255).astype(np.uint8)
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or pixels.shape[2:] == (3,)):
        return None
    try:
        from PIL import Image
    except ImportError:
        return None
    return Image.fromarray(pixels)


def _data_uri(picture: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
