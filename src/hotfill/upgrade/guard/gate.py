"""What the journal says of the gate: what is required, was let pass, and was measured.

The gate may be set otherwise while the upgrade runs; the latest counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotfill.upgrade.requirements import judged_again

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.upgrade.journal.base import Journal


def accepted_metrics(journal: Journal) -> frozenset[str]:
    """Tell which metrics of the gate somebody let pass, since it was last set otherwise."""
    changed = journal.last("gate")
    since = changed.number if changed is not None else 0
    return frozenset(
        name
        for fact in journal.facts("gate_accepted")
        if fact.number > since
        for name in fact.body["metrics"]
    )


def change_gate(journal: Journal, gate: Mapping[str, float], by: str) -> bool:
    """Put another gate in force, if it is another; its holds are judged again by what was measured.

    by: who changed it. Tells whether it was changed. Pauses and other holds stay.
    """
    if dict(gate) == gate_in_force(journal):
        return False
    staying = judged_again(journal.holds(), gate)
    journal.record("gate", required=dict(gate), by=by)
    journal.release("gate")
    for hold in staying:
        journal.hold(hold)
    return True


def gate_in_force(journal: Journal) -> dict[str, float]:
    """Read what the upgrade requires now: as it began, or as it was changed since."""
    if (changed := journal.last("gate")) is not None:
        return dict(changed.body["required"])
    begun = journal.last("plan")
    return dict(begun.body.get("gate", {})) if begun is not None else {}


def quality_curve(journal: Journal) -> list[dict[str, Any]]:
    """Read all measurements so far, oldest first: the fields of `Quality`, and `at`, in seconds."""
    return [{"at": fact.at, **fact.body} for fact in journal.facts("quality")]
