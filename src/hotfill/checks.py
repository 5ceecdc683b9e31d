"""Checks of ids and texts at the boundary: what comes in is named precisely, or refused."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hotfill.errors import DuplicateItemError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_ids(item_ids: Sequence[str], *, repeats: bool = False) -> None:
    """Raise DuplicateItemError when an id occurs twice, ShapeError when one is not a text.

    repeats: whether an id may occur several times, as when things are only read.
    """
    if isinstance(item_ids, str):
        raise ShapeError(f"expected a sequence of item ids, got one text: [{item_ids!r}] is meant?")
    for item_id in item_ids:
        if not isinstance(item_id, str) or not item_id:
            raise ShapeError(f"an item id is a non-empty text; got {item_id!r}")
        if not is_unicode(item_id):
            raise ShapeError(f"an item id is valid Unicode; {item_id!r} holds half a character")
    if not repeats and len(set(item_ids)) != len(item_ids):
        raise DuplicateItemError([name for name, n in Counter(item_ids).items() if n > 1])


def is_unicode(text: str) -> bool:
    """Tell whether a text can be written as UTF-8: lone surrogates cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
