"""How the gallery is searched and written in each phase: one frozen object, swapped as a whole.

| phase | a query is embedded by | searched | a write goes to |
|---|---|---|---|
| planned, aborted, rolled_back | the old model | the old side | the old side |
| prepared, backfilling, backfilled | the new model | both sides | the new side, old vector kept |
| superseded | the new model | both sides | the new side, old vector kept |
| cut_over | the new model | the new side | the new side, old vector kept |
| aborting, rolling_back | the new model | both sides | the old side |
| completed | the new model | the new side | the new side |

In a chain the first row is as the unfinished upgrade before it: both its sides, ranked together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hotfill.upgrade.phases import WAY_BACK_OPEN, Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.scoring import Scorer
    from hotfill.types import ModelId

OLD_ONLY = frozenset({Phase.PLANNED, Phase.ABORTED, Phase.ROLLED_BACK})
"""Phases in which only the old side is searched."""

NEW_ONLY = frozenset({Phase.CUT_OVER, Phase.COMPLETED})
"""Phases in which only the new side is searched."""

_GOING_BACK = frozenset({Phase.ABORTING, Phase.ROLLING_BACK})


@dataclass(frozen=True, slots=True)
class Before:
    """In a chain: what was before it, and comes back when it is aborted. An unfinished upgrade.

    load_scorer: ranks the sides of that upgrade. kept_model: the model before its new one.
    """

    load_scorer: Callable[[], Scorer]
    kept_model: ModelId


@dataclass(frozen=True, slots=True)
class View:
    """What searches and writes follow.

    query_model: embeds the queries. write_model: its side takes writes.
    kept_model: whose vectors are written beside, for the way back; None when none are.
    scorer: ranks the sides together; None when one side is searched.
    """

    phase: Phase
    query_model: ModelId
    write_model: ModelId
    kept_model: ModelId | None
    scorer: Scorer | None


def view_of(
    phase: Phase,
    old_model: ModelId,
    new_model: ModelId,
    load_scorer: Callable[[], Scorer],
    *,
    before: Before | None = None,
) -> View:
    """Return the view of a phase (the table above). load_scorer: only called when needed.

    before: in a chain, how the gallery is searched where the old side alone is meant.
    """
    if phase in OLD_ONLY:
        if before is not None:
            return View(phase, old_model, old_model, before.kept_model, before.load_scorer())
        return View(phase, old_model, old_model, None, None)
    kept = old_model if phase in WAY_BACK_OPEN else None
    if phase in NEW_ONLY:
        return View(phase, new_model, new_model, kept, None)
    write_model = old_model if phase in _GOING_BACK else new_model
    return View(phase, new_model, write_model, kept, load_scorer())
