"""What an operator can do now, and what is best done next. Pure: a snapshot in, buttons out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hotfill.upgrade.phases import Phase

if TYPE_CHECKING:
    from hotfill.service.snapshot import UpgradeSnapshot

_LABELS = {
    "start": "Start",
    "pause": "Pause",
    "resume": "Resume",
    "verify": "Verify",
    "cutover": "Cut over",
    "rollback": "Roll back",
    "complete": "Complete",
    "abort": "Abort",
}
_QUESTIONS = {
    "abort": "Move all items back to the old model? What was embedded so far is dropped.",
    "rollback": "Go back to the old model? Items written since keep their content.",
    "cutover": "Search only the new vectors from now on? The old ones are kept for a way back.",
}

_MORE_QUESTION = (
    "Embed items that stayed imputed, as many as the configuration file says? Searches go on."
)
_ACCEPT_QUESTION = (
    "Go on although the canaries got worse than the gate allows? It is noted who said so."
)


@dataclass(frozen=True, slots=True)
class Action:
    """A button. step: the route of the API. main: the best thing to do now.

    apart: there is no way back from it, so it stands apart from the others.
    question: asked before; None where nothing needs to be asked ("complete" asks by itself).
    """

    step: str
    label: str
    main: bool = False
    apart: bool = False
    question: str | None = None
    retry_dead_letters: bool = False
    more: bool = False
    accept_gate: bool = False


def actions(seen: UpgradeSnapshot, now: float, verification_lasts_seconds: float) -> list[Action]:
    """List what can be done now, the best first."""
    working = seen.run is not None and seen.run.running
    if working and seen.run is not None and seen.run.step != "start":
        return []
    steps = [step for step in seen.status.next_steps if step in _LABELS]
    if seen.status.phase is Phase.COMPLETED:
        return _after_complete(seen, steps, working=working)
    if working:
        steps = [step for step in steps if step != "start"]
    else:
        steps = [step for step in steps if step != "pause"]
    best = _best(seen, steps, now, verification_lasts_seconds)
    found = [
        Action(
            step,
            _label(step, seen),
            main=step == best,
            apart=step == "complete",
            question=_QUESTIONS.get(step),
        )
        for step in sorted(steps, key=lambda step: step != best)
    ]
    if any(hold.kind == "gate" for hold in seen.status.holds):
        found.append(Action("resume", "Go on anyway", question=_ACCEPT_QUESTION, accept_gate=True))
    redo = seen.status.phase in (Phase.BACKFILLING, Phase.BACKFILLED) and not working
    if redo and seen.status.dead_letters:
        # Where all else is done, that is what keeps the upgrade.
        main = best is None and seen.status.phase is Phase.BACKFILLED
        again = Action("start", "Try dead letters again", main=main, retry_dead_letters=True)
        found.insert(0 if main else len(found), again)
    return found


def _after_complete(seen: UpgradeSnapshot, steps: list[str], *, working: bool) -> list[Action]:
    """Offer to embed what stayed imputed; while that goes on it may rest."""
    if working:
        step = "resume" if "resume" in steps else "pause"
        return [Action(step, _LABELS[step], main=step == "resume")]
    if not (seen.embeds_more and seen.imputed_items):
        return []
    return [Action("start", "Embed more", more=True, question=_MORE_QUESTION)]


def is_verified(seen: UpgradeSnapshot, now: float, lasts_seconds: float) -> bool:
    """Tell whether a cutover would be allowed by the last verification."""
    verified = seen.verified
    return verified is not None and verified.body["passed"] and now - verified.at < lasts_seconds


def _best(seen: UpgradeSnapshot, steps: list[str], now: float, lasts_seconds: float) -> str | None:
    if seen.status.phase is Phase.BACKFILLED and seen.status.dead_letters:
        return None
    if seen.status.phase is Phase.BACKFILLED:
        return "cutover" if is_verified(seen, now, lasts_seconds) else "verify"
    if seen.status.phase in (Phase.ABORTING, Phase.ROLLING_BACK):
        return steps[0] if steps else None
    if seen.status.phase is Phase.SUPERSEDED:
        return None  # it is refused unless the upgrade that took over was aborted
    # Whether to complete, and so to give up the way back, is for people to weigh.
    return next((step for step in ("resume", "start") if step in steps), None)


def _label(step: str, seen: UpgradeSnapshot) -> str:
    if step == "start" and seen.status.phase is not Phase.PLANNED:
        return "Continue"
    if (step, seen.status.phase) in (
        ("abort", Phase.ABORTING),
        ("rollback", Phase.ROLLING_BACK),
    ):
        return "Continue to go back"
    return _LABELS[step]
