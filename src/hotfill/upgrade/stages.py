"""What each stage does to a batch: `prefill` maps, `embed` embeds, `revert` puts back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.upgrade.backfill import Work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hotfill.stores.base import Gallery
    from hotfill.types import Embedder, ModelId, Source, Transform


def embed_work(new_model: ModelId, source: Source, embedder: Embedder) -> Work:
    """Embed the content of items by the new model."""
    return Work(
        stage="embed",
        target=new_model,
        origin=new_model.fingerprint,
        needed=lambda state: (state.space, state.origin) != (new_model, new_model.fingerprint),
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
    )


def revert_work(
    gallery: Gallery, old_model: ModelId, source: Source, embedder: Embedder | None
) -> Work:
    """Put old vectors back into search.

    embedder: the old model's, for items written without an old vector; without it such items
    cannot go back and become dead letters.
    """

    def load(item_ids: Sequence[str]) -> Mapping[str, Any]:
        found = gallery.vectors(item_ids, old_model)
        rows: dict[str, Any] = dict(zip(found.item_ids, found.vectors, strict=True))
        lacking = [item_id for item_id in item_ids if item_id not in rows]
        if lacking and embedder is not None:
            contents = source(lacking)
            made = embedder(list(contents.values()))
            rows.update(zip(contents, made, strict=True))
        return rows

    return Work(
        stage="revert",
        target=old_model,
        origin=old_model.fingerprint,
        needed=lambda state: state.space != old_model,
        load=load,
        make=np.stack,
    )
