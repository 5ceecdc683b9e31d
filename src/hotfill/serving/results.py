"""What a search returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hotfill.types import ModelId
    from hotfill.upgrade.phases import Phase


@dataclass(frozen=True, slots=True)
class Hit:
    """One item found.

    score: comparable over the whole list, higher is better; while two sides are searched it is on
    the new side's scale. raw_score: as its side's metric gives it. model: of the vector that was
    searched.
    """

    item_id: str
    score: float
    raw_score: float
    model: ModelId


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What one query found, best first. query_model: what embedded it. phase: at that time."""

    hits: tuple[Hit, ...]
    query_model: ModelId
    phase: Phase

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The ids alone."""
        return tuple(hit.item_id for hit in self.hits)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; models by name and fingerprint."""
        return {
            "phase": str(self.phase),
            "query_model": str(self.query_model),
            "hits": [
                {
                    "item_id": hit.item_id,
                    "score": hit.score,
                    "raw_score": hit.raw_score,
                    "model": str(hit.model),
                }
                for hit in self.hits
            ],
        }
