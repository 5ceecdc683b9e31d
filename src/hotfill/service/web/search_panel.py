"""One query on the old side, as callers get it now, and on the new side: what an upgrade does.

Each side's own list is what its model alone finds among the items that are on that side.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hotfill.errors import ConfigError, EmbedError, HotfillError, InputError, SourceError
from hotfill.service.web.templates import render
from hotfill.upgrade.parts import WHICH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hotfill.types import Embedder, ModelId, Source, Vectors
    from hotfill.upgrade.parts import Which
    from hotfill.upgrade.upgrade import Upgrade

_LONGEST_TEXT = 300  # characters
_LARGEST_PICTURE = 96  # pixels
_PICTURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg"}  # by their first bytes


@dataclass(frozen=True, slots=True)
class ShownHit:
    """One hit. side: "old" or "new". text, picture: its content, as far as it can be shown.

    picture: a data URI.
    """

    item_id: str
    score: float
    side: str
    text: str = ""
    picture: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """What one way of searching found, best first. about: which way, in words."""

    title: str
    about: str
    rows: tuple[ShownHit, ...]


def search_panel(up: Upgrade, text: str | None, like: str | None, k: int) -> str:
    """Search for a text, or for the content of an item, and render what was found.

    Raises InputError (neither is given, no content of that item), EmbedError, SourceError,
    StoreError.
    """
    source = _source_of(up)
    content = _content(text, like, source)
    columns = [column for which in WHICH if (column := _side(up, which, content, k)) is not None]
    plan = up.plan_in_force
    hits = up.search([content], k)[0].hits
    rows = tuple(
        ShownHit(hit.item_id, hit.score, "new" if hit.model == plan.new_model else "old")
        for hit in hits
    )
    place = 1 if columns and columns[0].title == "Old side" else 0
    columns.insert(place, Column("Now", "what a search gets", rows))
    ids = sorted({row.item_id for column in columns for row in column.rows})
    contents = _read(source, ids)
    return render("found.html", columns=[_with_contents(each, contents) for each in columns])


def _source_of(up: Upgrade) -> Source | None:
    try:
        return up.parts.source()
    except ConfigError:  # an upgrade from stored vectors needs none
        return None


def _content(text: str | None, like: str | None, source: Source | None) -> Any:
    if text:
        return text
    if not like:
        raise InputError("give a text, or the id of an item to search with its content")
    found = _read(source, [like])
    if like not in found:
        raise InputError(f"the source has no content of an item {like!r}")
    return found[like]


def _read(source: Source | None, item_ids: Sequence[str]) -> Mapping[str, Any]:
    if source is None:
        return {}
    try:
        return source(item_ids)
    except HotfillError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise SourceError(f"the source failed for {', '.join(item_ids)} ({kind})") from error


def _side(up: Upgrade, which: Which, content: Any, k: int) -> Column | None:
    """Search one side by its model; None without items there, or without its embedder."""
    plan, gallery = up.plan_in_force, up.gallery
    model = plan.old_model if which == "old" else plan.new_model
    embedder = up.parts.query_embedder(which) or up.parts.embedder(which)
    items = gallery.count(model) if model in gallery.spaces else 0
    if not items or embedder is None:
        return None
    found = gallery.search({model: _query(embedder, model, content)}, k)[model]
    rows = zip(found.item_ids[0], found.scores[0].tolist(), strict=True)
    return Column(
        f"{which.capitalize()} side",
        f"{model.name} alone, on its {items:,} items",
        tuple(ShownHit(item_id, score, which) for item_id, score in rows),
    )


def _query(embedder: Embedder, model: ModelId, content: Any) -> Vectors:
    try:
        return embedder([content])
    except HotfillError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise EmbedError(
            f"the embedder of {model.name} failed ({kind})", retryable=False
        ) from error


def _with_contents(column: Column, contents: Mapping[str, Any]) -> Column:
    rows = tuple(
        ShownHit(row.item_id, row.score, row.side, *_shown(contents.get(row.item_id)))
        for row in column.rows
    )
    return Column(column.title, column.about, rows)


def _shown(content: Any) -> tuple[str, str]:
    """Return a content as text and as picture, each empty where it is not of that kind."""
    if isinstance(content, str):
        longer = len(content) > _LONGEST_TEXT
        return content[:_LONGEST_TEXT] + "\N{HORIZONTAL ELLIPSIS}" * longer, ""
    if isinstance(content, bytes):
        kind = next((kind for start, kind in _PICTURES.items() if content.startswith(start)), None)
        return "", _data_uri(content, kind) if kind else ""
    if hasattr(content, "thumbnail") and hasattr(content, "convert"):  # a picture of Pillow's
        small = content.convert("RGB")  # a copy
        small.thumbnail((_LARGEST_PICTURE, _LARGEST_PICTURE))
        png = io.BytesIO()
        small.save(png, format="PNG")
        return "", _data_uri(png.getvalue(), "png")
    return "", ""


def _data_uri(picture: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
