"""Hits with their texts and metadata, as the retrievers of other libraries return them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hotfill.stores.base import Gallery, Where
    from hotfill.types import Source
    from hotfill.upgrade.serving import Serving


@dataclass(frozen=True, slots=True)
class FoundText:
    """One hit. metadata: the item's own, with item_id, score and model added."""

    item_id: str
    text: str
    score: float
    metadata: dict[str, Any]


def find_texts(
    serving: Serving,
    source: Source,
    query: str,
    *,
    k: int,
    where: Where | None = None,
    gallery: Gallery | None = None,
) -> list[FoundText]:
    """Search in whatever phase the upgrade is, and read the texts of what is found, best first.

    gallery: gives the items' own metadata; without it there is none.
    An item whose text is gone by then is left out. Raises as `Serving.search` and the source.
    """
    (result,) = serving.search([query], k, where=where)
    texts = source(result.item_ids)
    states = gallery.get(result.item_ids) if gallery is not None else [None] * len(result.hits)
    return [
        FoundText(
            hit.item_id,
            str(texts[hit.item_id]),
            hit.score,
            {
                **(state.metadata if state is not None else {}),
                "item_id": hit.item_id,
                "score": hit.score,
                "model": str(hit.model),
            },
        )
        for hit, state in zip(result.hits, states, strict=True)
        if hit.item_id in texts
    ]
