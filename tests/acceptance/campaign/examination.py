"""Looks at every item of a gallery: where it is searched, and by which vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.unit.cli.models import NEW, OLD, new_model, old_model

_CLOSE = 1e-5


@dataclass(frozen=True, slots=True)
class Examined:
    """Numbers of items. lost: on no side. doubled: on two, or twice on one.

    wrong: with a vector that its model does not give for its content. moved: re-embedded.
    """

    lost: int
    doubled: int
    wrong: int
    moved: int


def examine(gallery, source) -> Examined:
    """Examine a gallery of OLD and NEW, also while others move its items."""
    ids = list(source)
    rows = list(source.values())
    # One search over the sides that there are: one moment, or old before new.
    queries = {
        space: np.ones((1, space.dimension), np.float32) / np.sqrt(space.dimension)
        for space in gallery.spaces
    }
    hits = gallery.search(queries, 2 * len(ids))
    sides = {space: list(found.item_ids[0]) for space, found in hits.items()}
    listed = [item_id for side in sides.values() for item_id in side]
    states = dict(zip(ids, gallery.get(ids), strict=True))
    absent = {item_id for item_id, state in states.items() if state is None}
    embedded = {
        item_id
        for item_id, state in states.items()
        if state is not None and (state.space, state.origin) == (NEW, NEW.fingerprint)
    }
    wrong = 0
    for space, embedder in ((OLD, old_model()), (NEW, new_model())):
        if space not in gallery.spaces:
            continue
        # Imputed vectors are nobody's own; what they stand for, the old ones, is looked at as well.
        own = ids if space == OLD else [item_id for item_id in ids if item_id in embedded]
        found = gallery.vectors(own, space)
        row_of = {item_id: row for row, item_id in enumerate(ids)}
        direct = embedder(rows)[[row_of[item_id] for item_id in found.item_ids]]
        wrong += int((~np.isclose(found.vectors, direct, atol=_CLOSE).all(axis=1)).sum())
        listed_here = set(sides[space]) if space == OLD else embedded
        wrong += len(listed_here - set(found.item_ids))
    return Examined(
        lost=len(absent | (set(ids) - set(listed))),
        doubled=len(listed) - len(set(listed)),
        wrong=wrong,
        moved=len(embedded),
    )
