"""A walk over one side of a gallery, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotfill.stores.base import Gallery, Page
    from hotfill.types import ModelId


def pages_of(gallery: Gallery, space: ModelId, limit: int = 1000) -> Iterator[Page]:
    """Walk one side of a gallery, page by page."""
    cursor: str | None = None
    while True:
        page = gallery.scan(space, after=cursor, limit=limit)
        if page.item_ids:
            yield page
        cursor = page.cursor
        if cursor is None:
            return
