"""A rehearsal in one call, its settings by their names."""

from __future__ import annotations

from typing import Any

from hotfill.rehearsal import Cost, EmbeddedBy, Labels, Rehearsal, RehearsalSettings, rehearse


def rehearsed(
    old: Any,
    new: Any,
    *,
    asked: tuple[Any, Any] = (None, None),
    labels: Any = None,
    query_labels: Any = None,
    relevant: Any = None,
    returned: Any = None,
    more_maps: Any = None,
    cost: Cost | None = None,
    **settings: Any,
) -> Rehearsal:
    """Rehearse. asked: queries of the old and of the new model."""
    return rehearse(
        EmbeddedBy(old, asked[0]),
        EmbeddedBy(new, asked[1]),
        relevant=relevant if labels is None else Labels(labels, query_labels),
        returned=returned,
        settings=RehearsalSettings(**settings),
        more_maps=more_maps,
        cost=cost,
    )
