"""What an operator may ask of a running upgrade from anywhere: it is written to the journal.

The process at work reads it before the next batch.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from hotfill.errors import InputError, PhaseError, PlanError
from hotfill.upgrade.phases import ENDED, Hold, Phase, Step, next_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.parts import Parts

HANDOVER_SECONDS = 30.0
"""How long `abort`, or a chain, waits for a running process to let go."""


def pause(journal: Journal, by: str) -> None:
    """Hold all work until `resume`. by: who asks; shown to everybody."""
    _not_ended(journal, "pause")
    journal.hold(Hold("paused", by, time.time()))
    journal.record("paused", by=by)


def resume(journal: Journal) -> bool:
    """End all pauses, and holds by errors: they were resolved. Tells whether there was one.

    A throttle ends, too; the process at work measures again, and holds again if it must.
    """
    _not_ended(journal, "resume")
    was = [journal.release("paused"), journal.release("error"), journal.release("throttled")]
    if any(was):
        journal.record("resumed")
    return any(was)


def accept_gate(journal: Journal, by: str) -> tuple[Hold, ...]:
    """Go on although the gate is not met; the metrics concerned hold nothing any more.

    They are measured all the same. Whoever accepts is written down, with the figures; another gate
    in the plan is in force again for all metrics. Returns the holds that ended.
    """
    _not_ended(journal, "accept the gate")
    held = tuple(hold for hold in journal.holds() if hold.kind == "gate")
    if held:
        figures = {hold.about: [hold.measured, hold.required] for hold in held}
        journal.record("gate_accepted", by=by, metrics=figures)
        for hold in held:
            journal.release("gate", hold.about)
    return held


def switch_guard(journal: Journal, *, on: bool, by: str) -> None:
    """Let the guard measure, or not, from the next batch on. Holds of its gate stay."""
    _not_ended(journal, "switch the guard")
    journal.record("guard", on=on, by=by)


def accept_dead_letters(journal: Journal, by: str, item_ids: Sequence[str] | None = None) -> int:
    """Let the upgrade go on without items that failed for good. Returns how many.

    An accepted item stays findable by its old vector until `complete`, which asks before it leaves
    the gallery. by: who decides; written down. item_ids: which; by default all.
    Raises InputError when one is no dead letter, or cannot go back to the old model: its vector
    there is what is lacking.
    """
    _not_ended(journal, "accept dead letters")
    chosen = dead_letter_ids(journal, item_ids)
    if stuck := {each.item_id for each in journal.dead_letters() if each.stage == "revert"} & {
        *chosen
    }:
        raise InputError(
            f"{sorted(stuck)[0]!r} has no old vector to be found by, so that it cannot be accepted "
            "on the way back; nothing was changed: delete it or try it again"
        )
    accepted = journal.accept(chosen, by or "unknown") if chosen else 0
    if accepted:
        journal.record("dead_letters_accepted", by=by, items=accepted)
    return accepted


def retry_dead_letters(
    journal: Journal, batch_size: int, item_ids: Sequence[str] | None = None
) -> int:
    """Turn dead letters into work again, for the process at work or the next one.

    item_ids: which, accepted ones too; by default all that nobody accepted. Returns how many.
    Raises InputError when one is no dead letter.
    """
    if item_ids is not None:
        item_ids = dead_letter_ids(journal, item_ids)
    retried = journal.retry(batch_size, item_ids)
    if retried:
        journal.record("dead_letters_retried", items=retried)
    return retried


def dead_letter_ids(journal: Journal, item_ids: Sequence[str] | None) -> list[str]:
    """Check ids of dead letters; where none are named, list those that wait for a decision.

    Raises InputError when one is no dead letter.
    """
    waiting = [each.item_id for each in journal.dead_letters()]
    if item_ids is None:
        return waiting
    known = {*waiting, *(each.item_id for each in journal.dead_letters(accepted=True))}
    if unknown := [item_id for item_id in item_ids if item_id not in known]:
        raise InputError(
            f"expected ids of dead letters, got {', '.join(map(repr, unknown[:5]))}; nothing was "
            "changed: `hotfill dead-letters` lists them"
        )
    return list(item_ids)


def postpone(journal: Journal, by: str) -> None:
    """Hold the cutover, not the backfill, until `unpostpone`."""
    _not_ended(journal, "postpone")
    journal.hold(Hold("postponed", by, time.time()))


def unpostpone(journal: Journal) -> bool:
    """Let the cutover happen. Tells whether it was postponed."""
    return journal.release("postponed")


def abort(journal: Journal) -> None:
    """Begin to go back to the old model: a process at work lets go after the batches in hand.

    This is only the beginning, for when that process must let go of the store before it can be
    opened here; `Upgrade.abort` does the rest. Raises PhaseError.
    """
    journal.advance(Step.ABORT)


def supersede(journal: Journal, by: str) -> None:
    """Let an upgrade to a third model take over: a process at work lets go after its batches.

    by: the configuration of that upgrade. Raises PhaseError where there is nothing to take over:
    not begun, or ended; or where the way is one already: cut over, or on the way back.
    """
    if journal.phase is not Phase.SUPERSEDED:
        journal.advance(Step.SUPERSEDE)
        journal.record("superseded", by=by)


def take_over(parts: Parts, journal: Journal) -> bool:
    """In a chain, end what the previous upgrade does, before the one of `parts` begins. Idempotent.

    journal: of the upgrade that begins. Returns when the process that led the previous one has let
    go, and tells whether there is one to take over from.
    Raises UpgradeBusyError when that process does not let go, PhaseError when the previous upgrade
    has not begun or has ended, ConfigError when it led to another model, PlanError when it began at
    a gallery in which items stayed imputed.
    """
    previous = parts.previous
    if previous is None or journal.phase is not Phase.PLANNED:
        return False
    parts.older_models()  # a wrong [old] is told before anything is handed over
    with closing(previous.journal()) as theirs:
        before = theirs.last("imputed_before")
        if before is not None and before.body["origins"]:
            raise PlanError(
                [
                    f"{previous.name} began at a gallery in which items stayed imputed, and a "
                    "chain does not know which: finish that upgrade first, or abort it"
                ]
            )
        supersede(theirs, parts.name)
        with theirs.coordinating(HANDOVER_SECONDS):
            pass
    return True


def _not_ended(journal: Journal, step: str) -> None:
    phase = journal.phase
    if phase in ENDED:
        raise PhaseError(step, phase, next_steps(phase))
