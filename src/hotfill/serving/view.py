"""How the gallery is searched and written in each phase: one frozen object, swapped as a whole.

| phase | a query is embedded by | searched | a write goes to |
|---|---|---|---|
| planned, aborted, rolled_back | the old model | the old side | the old side |
| prepared, backfilling, backfilled | the new model | both sides | the new side, old vector kept |
| cut_over | the new model | the new side | the new side, old vector kept |
| aborting, rolling_back | the new model | both sides | the old side |
| completed | the new model | the new side | the new side |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hotfill.upgrade.phases import WAY_BACK_OPEN, Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.scoring import Scorer
    from hotfill.types import ModelId

_OLD_ONLY = frozenset({Phase.PLANNED, Phase.ABORTED, Phase.ROLLED_BACK})
_NEW_ONLY = frozenset({Phase.CUT_OVER, Phase.COMPLETED})
_GOING_BACK = frozenset({Phase.ABORTING, Phase.ROLLING_BACK})


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
    phase: Phase, old_model: ModelId, new_model: ModelId, load_scorer: Callable[[], Scorer]
) -> View:
    """Return the view of a phase (the table above). load_scorer: only called when needed."""
    if phase in _OLD_ONLY:
        return View(phase, old_model, old_model, None, None)
    kept = old_model if phase in WAY_BACK_OPEN else None
    if phase in _NEW_ONLY:
        return View(phase, new_model, new_model, kept, None)
    write_model = old_model if phase in _GOING_BACK else new_model
    return View(phase, new_model, write_model, kept, load_scorer())
