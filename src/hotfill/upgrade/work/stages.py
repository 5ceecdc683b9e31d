"""What each stage does to a batch: `prefill` maps, `embed` embeds, `revert` puts back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import EmbedError
from hotfill.upgrade.work.backfill import Work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hotfill.stores.base import Gallery, ItemState
    from hotfill.types import Embedder, ModelId, Source, Transform, Vectors


def is_redone(state: ItemState, new_model: ModelId) -> bool:
    """Tell whether the new model itself made the vector that is searched."""
    return (state.space, state.origin) == (new_model, new_model.fingerprint)


def embed_work(new_model: ModelId, source: Source, embedder: Embedder) -> Work:
    """Embed the content of items by the new model."""
    return Work(
        stage="embed",
        target=new_model,
        origin=new_model.fingerprint,
        needed=lambda state: not is_redone(state, new_model),
        load=source,
        make=embedder,
    )


def prefill_work(gallery: Gallery, old_model: ModelId, up: Transform) -> Work:
    """Carry old vectors into the new space: cheap, no content is read, no model runs."""

    def load(item_ids: Sequence[str]) -> Mapping[str, Any]:
        found = gallery.vectors(item_ids, old_model)
        return dict(zip(found.item_ids, found.vectors, strict=True))

    return Work(
        stage="prefill",
        target=up.target,
        origin=up.fingerprint,
        needed=lambda state: state.space == old_model,
        load=load,
        make=lambda rows: up(np.stack(rows)),
        absent="this item has no old vector",
    )


@dataclass(frozen=True, slots=True)
class _ToEmbed:
    """The content of an item that has no vector to put back."""

    content: Any


def revert_work(
    gallery: Gallery,
    old_model: ModelId,
    new_model: ModelId,
    source: Source,
    embedder: Embedder | None,
) -> Work:
    """Put old vectors back into search, of items that are searched by the new model.

    embedder: the old model's, for items written without an old vector; without it such items
    cannot go back and become dead letters.
    """

    def load(item_ids: Sequence[str]) -> Mapping[str, Any]:
        found = gallery.vectors(item_ids, old_model)
        rows: dict[str, Any] = dict(zip(found.item_ids, found.vectors, strict=True))
        lacking = [item_id for item_id in item_ids if item_id not in rows]
        if lacking and embedder is not None:
            contents = source(lacking)
            rows.update((item_id, _ToEmbed(content)) for item_id, content in contents.items())
        return rows

    def make(rows: Sequence[Any]) -> Vectors:
        lacking = [place for place, row in enumerate(rows) if isinstance(row, _ToEmbed)]
        made = dict(enumerate(rows))
        if lacking and embedder is not None:
            try:
                vectors = embedder([rows[place].content for place in lacking])
            except EmbedError as error:  # it counts what it was given, not what we were
                places = [lacking[row] for row in error.rows if row < len(lacking)]
                raise EmbedError(str(error), rows=places, retryable=error.retryable) from error
            made.update(zip(lacking, vectors, strict=True))
        return np.stack(list(made.values()))

    return Work(
        stage="revert",
        target=old_model,
        origin=old_model.fingerprint,
        needed=lambda state: state.space == new_model,
        load=load,
        make=make,
        absent="this item has no old vector, and no old embedder or no content to make one",
    )
