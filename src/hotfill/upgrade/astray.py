"""Does the store hold what the phase says? Searches must not be short without a word.

A journal may be deleted or restored from a backup, a store too, and a process may have stood still
while others went on. Then items are on a side that the phase does not search, or a side that it
searches is gone. What is astray is searched all the same, said in the status, and fixed by one
command.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hotfill.errors import ModelMismatchError
from hotfill.upgrade.phases import NEW_ONLY, OLD_ONLY, WAY_BACK_OPEN, Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.stores.base import Gallery
    from hotfill.types import ModelId
    from hotfill.upgrade.journal.base import Fact, Journal
    from hotfill.upgrade.plan import Plan

_TRIES = 5  # the phase may change while the store is looked at

_REMEDIES = {
    Phase.CUT_OVER: "cutover",
    Phase.COMPLETED: "complete",
    Phase.ABORTING: "abort",
    Phase.ABORTED: "abort",
    Phase.ROLLING_BACK: "rollback",
    Phase.ROLLED_BACK: "rollback",
}


@dataclass(frozen=True, slots=True)
class Astray:
    """How the store differs from what the phase says.

    items: on sides that the phase does not search. unknown: of these, sides of which the plan
    knows nothing. lacking: spaces that the phase uses and the store has not. sides: what holds
    items or may soon, oldest first; all of them have to be searched.
    """

    phase: Phase
    items: Mapping[ModelId, int] = field(compare=False)  # it may change all the time
    unknown: tuple[ModelId, ...]
    lacking: tuple[ModelId, ...]
    sides: tuple[ModelId, ...]

    @property
    def remedy(self) -> str:
        """The command that makes phase and store agree; empty where another upgrade leads."""
        if self.unknown:
            return ""
        if self.phase is Phase.CUT_OVER and not self.items:
            return "complete"  # the old side is gone already
        return _REMEDIES.get(self.phase, "start")

    def __str__(self) -> str:
        parts = [
            f"{count:,} items are on the side of {space}, which phase {self.phase} does not search"
            for space, count in self.items.items()
        ]
        parts += [
            f"the store has no vectors of {space}, which phase {self.phase} uses"
            for space in self.lacking
        ]
        ending = (
            f"`hotfill {self.remedy}` puts it right"
            if self.remedy
            else f"serve by the configuration of the upgrade to {self.unknown[-1]}"
        )
        return "; ".join([*parts, ending])


def find_astray(
    gallery: Gallery, journal: Journal, plan: Plan, *, chained: bool, by_rows: bool = True
) -> Astray | None:
    """Compare the phase with the store; None when they agree. Writes nothing.

    chained: whether the sides of a superseded upgrade are searched before this one begins.
    by_rows: whether to read the rows where a store's kept sum says that a side is empty.
    """
    phase = journal.phase
    for _ in range(_TRIES):
        try:
            found = _compare(gallery, phase, plan, chained, by_rows)
        except ModelMismatchError:  # a space was dropped between two looks
            found = None
        now = journal.phase
        if now is phase:
            return found
        phase = now
    return None  # it goes on under our eyes; the next look finds what stays


def _compare(
    gallery: Gallery, phase: Phase, plan: Plan, chained: bool, by_rows: bool
) -> Astray | None:
    if phase is Phase.SUPERSEDED:
        return None  # items of the upgrade that took over are where they belong
    known = (*plan.old_models, plan.new_model)
    if phase in OLD_ONLY:
        searched = plan.old_models if chained else (plan.old_model,)
    else:
        searched = (plan.new_model,) if phase in NEW_ONLY else known
    kept = [plan.old_model] if phase in WAY_BACK_OPEN else []
    there = gallery.spaces
    items = {
        space: count
        for space in there
        if space not in searched
        and (count := gallery.count(space) or (gallery.count_rows(space) if by_rows else 0))
    }
    lacking = tuple(space for space in dict.fromkeys([*searched, *kept]) if space not in there)
    if not there or not (items or lacking):
        return None
    return Astray(
        phase,
        items,
        tuple(space for space in items if space not in known),
        lacking,
        tuple(space for space in there if space in searched or space in items),
    )


def note_astray(journal: Journal, found: Astray | None) -> None:
    """Write down what is astray, or that nothing is any more, unless that is known already."""
    last = astray_noted(journal)
    if found is None:
        if last is not None:
            journal.record("astray", about="", said="", remedy="")
        return
    about = "; ".join(map(str, (found.phase, *found.sides, "without", *found.lacking)))
    if last is None or last.body["about"] != about:
        journal.record("astray", about=about, said=str(found), remedy=found.remedy)


def astray_noted(journal: Journal) -> Fact | None:
    """Read what is astray as far as anybody has seen; None when nothing is."""
    last = journal.last("astray")
    return last if last is not None and last.body["said"] else None
