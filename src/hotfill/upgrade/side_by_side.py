"""One query on the old side, as callers get it now, and on the new side: what an upgrade does.

Each side's own list is what its model alone finds among the items that are on that side. Where old
vectors were imputed into the new side, its own list is of the items that the model embedded.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hotfill.errors import ConfigError, EmbedError, HotfillError, InputError, SourceError
from hotfill.upgrade.parts import WHICH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hotfill.stores.base import Where
    from hotfill.types import Embedder, ModelId, Source, Vectors
    from hotfill.upgrade.parts import Which
    from hotfill.upgrade.upgrade import Upgrade
    from hotfill.upgrade.view import MadeBy

_LOOKED_AT = 1000  # items of each side that a choice is drawn from
_DEEP = 20  # times as many hits, among which those that the model embedded are looked for


@dataclass(frozen=True, slots=True)
class FoundItem:
    """One item found. made_by: its vector. content: from the source; None where there is none."""

    item_id: str
    score: float
    made_by: MadeBy
    content: Any = None


@dataclass(frozen=True, slots=True)
class Column:
    """What one way of searching found, best first. about: which way, in words."""

    title: Literal["Old side", "Now", "New side"]
    about: str
    found: tuple[FoundItem, ...]


def side_by_side(
    up: Upgrade, content: Any, k: int, *, where: Where | None = None
) -> tuple[Column, ...]:
    """Search for a content each way that there is now. k: hits of each.

    A side without items, or without an embedder of its model, has no column.
    Raises EmbedError, SourceError, StoreError.
    """
    sides = {which: _side(up, which, content, k, where) for which in WHICH}
    hits = up.search([content], k, where=where)[0].hits
    now = Column(
        "Now",
        "what a search gets",
        tuple(
            FoundItem(hit.item_id, hit.score, made_by)
            for hit, made_by in zip(hits, up.made_by(hits), strict=True)
        ),
    )
    columns = [each for each in (sides["old"], now, sides["new"]) if each is not None]
    ids = sorted({each.item_id for column in columns for each in column.found})
    contents = _read(_source_of(up), ids)
    return tuple(_with_contents(column, contents) for column in columns)


def content_of(up: Upgrade, item_id: str) -> Any:
    """Read the content of an item. Raises InputError where the source has none, SourceError."""
    found = _read(_source_of(up), [item_id])
    if item_id not in found:
        raise InputError(f"the source has no content of an item {item_id!r}")
    return found[item_id]


def some_contents(up: Upgrade, number: int, seed: int | None = None) -> dict[str, Any]:
    """Draw items to search with, and read their contents; fewer where the source lacks some.

    Raises SourceError, StoreError.
    """
    ids = [
        item_id
        for space in up.gallery.spaces
        for item_id in up.gallery.scan(space, limit=_LOOKED_AT).item_ids
    ]
    drawn = sorted(random.Random(seed).sample(ids, min(number, len(ids))))
    contents = _read(_source_of(up), drawn)
    return {item_id: contents[item_id] for item_id in drawn if item_id in contents}


def _source_of(up: Upgrade) -> Source | None:
    try:
        return up.contents
    except ConfigError:  # an upgrade from stored vectors needs none
        return None


def _read(source: Source | None, item_ids: Sequence[str]) -> Mapping[str, Any]:
    if source is None or not item_ids:
        return {}
    try:
        return source(item_ids)
    except HotfillError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise SourceError(f"the source failed for {', '.join(item_ids)} ({kind})") from error


def _side(up: Upgrade, which: Which, content: Any, k: int, where: Where | None) -> Column | None:
    """Search one side by its model; None without items there, or without its embedder."""
    plan, gallery = up.plan_in_force, up.gallery
    model = plan.old_model if which == "old" else plan.new_model
    embedder = up.parts.query_embedder(which) or up.parts.embedder(which)
    items = gallery.count(model) if model in gallery.spaces else 0
    if not items or embedder is None:
        return None
    own = gallery.count(model, origin=model.fingerprint) if which == "new" else items
    deep = k if own == items else k * _DEEP
    most = gallery.capabilities.most_hits
    hits = gallery.search(
        {model: _query(embedder, model, content)},
        min(deep, most or deep),
        where=where,
        origins=own < items,
    )[model]
    origins = hits.origins[0] if hits.origins else (model.fingerprint,) * len(hits.item_ids[0])
    found = [
        FoundItem(item_id, score, which)
        for item_id, score, origin in zip(
            hits.item_ids[0], hits.scores[0].tolist(), origins, strict=True
        )
        if own == items or origin == model.fingerprint
    ]
    return Column(
        "Old side" if which == "old" else "New side",
        f"{model.name} alone, on its {items:,} items"
        if own == items
        else f"{model.name} alone, on the {own:,} items that it embedded",
        tuple(found[:k]),
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
    found = tuple(
        FoundItem(each.item_id, each.score, each.made_by, contents.get(each.item_id))
        for each in column.found
    )
    return Column(column.title, column.about, found)
