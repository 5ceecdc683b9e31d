"""Look at everything, touch nothing: a draft becomes a plan with figures and blockers."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from hotfill.checks import check_vectors
from hotfill.errors import HotfillError

if TYPE_CHECKING:
    from hotfill.stores.base import Gallery
    from hotfill.types import Embedder, Source
    from hotfill.upgrade.plan import Plan

_SAMPLE = 64  # items embedded to measure the time; the first few are left out as warm-up
_WARM_UP = 8


def make_plan(
    gallery: Gallery,
    draft: Plan,
    source: Source,
    embedder: Embedder,
    free_bytes: int | None = None,
) -> Plan:
    """Fill in what can be found out: counts, bytes, expected time, blockers. Writes nothing.

    free_bytes: room where the store lives; None where that is not known.
    """
    old, new = draft.old_model, draft.new_model
    blockers = []
    items = 0
    if old == new:
        blockers.append(f"old and new model are the same: {old}; there is nothing to upgrade")
    if embedder.model_id != new:
        blockers.append(
            f"the embedder makes vectors of {embedder.model_id}, the plan says {new} "
            f"({new.differences(embedder.model_id)})"
        )
    lacking = [model for model in draft.older_models if model not in gallery.spaces]
    if lacking:
        blockers.append(f"the upgrade to be superseded began at {lacking[0]}, the store lacks it")
    if old not in gallery.spaces:
        held = ", ".join(str(space) for space in gallery.spaces) or "no stamped vectors"
        blockers.append(f"the plan's old model is {old}, but the store holds {held}")
    else:
        blockers += _strangers(gallery, draft)
        items = sum(gallery.count(space) for space in gallery.spaces if space != new)
        # After a lost journal every item may have moved already; there is still a cutover to do.
        if items == 0 and (new not in gallery.spaces or gallery.count(new) == 0):
            blockers.append("the gallery is empty: there is nothing to upgrade")
    if blockers:
        return replace(draft, items=items, blockers=tuple(blockers))

    sampled, seconds = 0, 0.0
    try:
        sampled, seconds = _time_sample(gallery, draft, source, embedder)
    except HotfillError as error:
        blockers.append(f"embedding a sample failed: {error}")
    bytes_to_write = items * gallery.vector_bytes(new)
    if free_bytes is not None and bytes_to_write > free_bytes:
        blockers.append(
            f"the new vectors need {_size(bytes_to_write)}, {_size(free_bytes)} are free where "
            "the store lives"
        )
    return replace(
        draft,
        items=items,
        bytes_to_write=bytes_to_write,
        seconds_expected=seconds * items / draft.duty_cycle,
        sampled_items=sampled,
        blockers=tuple(blockers),
    )


def _strangers(gallery: Gallery, draft: Plan) -> list[str]:
    """Say which items are searched by models that the plan does not know."""
    known = (*draft.old_models, draft.new_model)
    return [
        f"{count} items are still searched by {space}: finish or abort the upgrade from it, or "
        "supersede that by this one"
        for space in gallery.spaces
        if space not in known and (count := gallery.count(space))
    ]


def _time_sample(
    gallery: Gallery, draft: Plan, source: Source, embedder: Embedder
) -> tuple[int, float]:
    """Read and embed a few items: how many, and seconds per item."""
    held = [space for space in draft.old_models if gallery.count(space)]
    space = held[-1] if held else draft.new_model
    page = gallery.scan(space, limit=_SAMPLE + _WARM_UP)
    warm_up = source(page.item_ids[:_WARM_UP])
    if warm_up:
        check_vectors(
            embedder(list(warm_up.values())),
            draft.new_model.dimension,
            item_ids=list(warm_up),
            what="vectors of the new model",
        )
    began = time.perf_counter()
    contents = source(page.item_ids[_WARM_UP:] or page.item_ids)
    if not contents:
        raise HotfillError("the source has no content for the first items of the gallery")
    embedder(list(contents.values()))
    return len(contents), (time.perf_counter() - began) / len(contents)


def _size(n_bytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes} B"
