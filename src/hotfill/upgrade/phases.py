"""Where an upgrade can be, and the steps that lead on.

    planned ─start→ prepared → backfilling → backfilled ─cutover→ cut_over ─complete→ completed
                       │            │            │                    │
                       └───abort────┴────────────┤                    └─rollback─┐
                                                 ↓                               ↓
                                             aborting → aborted      rolling_back → rolled_back

From prepared, backfilling and backfilled an upgrade to a third model may take over: then this one
is `superseded`, and only goes on (`start`) when that one was aborted.

A journal that was lost after `complete` is replaced by one that goes from `planned` to `completed`;
one that was put back to a backup from a way back goes there from `aborting` or `rolling_back`.

Failure is not a phase but a hold (`holds.py`): the journal is intact and the same command goes on.
`aborting` and `rolling_back` are backfills in reverse, from vectors that were kept; search stays
correct, and an interrupted one goes on when its command is given again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from hotfill.errors import PhaseError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Phase(StrEnum):
    """One phase at a time."""

    PLANNED = "planned"  # checked, nothing touched
    PREPARED = "prepared"  # the store has room for new vectors; what maps queries is fitted
    BACKFILLING = "backfilling"  # items are being re-embedded
    BACKFILLED = "backfilled"  # every item is on the new side
    CUT_OVER = "cut_over"  # only the new side is read; old vectors are kept
    COMPLETED = "completed"  # old vectors are gone
    ABORTING = "aborting"  # moved items are going back
    ABORTED = "aborted"  # ended on the old side, before the switch
    ROLLING_BACK = "rolling_back"  # moved items are going back, after the switch
    SUPERSEDED = "superseded"  # another upgrade, to a third model, has taken the items over
    ROLLED_BACK = "rolled_back"  # ended on the old side, after the switch


class Step(StrEnum):
    """What leads from phase to phase. The first six are an operator's commands."""

    START = "start"
    CUTOVER = "cutover"
    COMPLETE = "complete"
    ABORT = "abort"
    ROLLBACK = "rollback"
    VERIFY = "verify"
    BEGIN_BACKFILL = "begin backfill"
    FINISH_BACKFILL = "finish backfill"
    FIND_MORE = "find more items"
    FIND_ENDED = "find that all is done"
    FINISH_REVERT = "finish going back"
    SUPERSEDE = "supersede"


_MOVES: dict[tuple[Phase, Step], Phase] = {
    (Phase.PLANNED, Step.START): Phase.PREPARED,
    (Phase.PLANNED, Step.FIND_ENDED): Phase.COMPLETED,
    (Phase.ABORTING, Step.FIND_ENDED): Phase.COMPLETED,
    (Phase.ROLLING_BACK, Step.FIND_ENDED): Phase.COMPLETED,
    (Phase.PREPARED, Step.BEGIN_BACKFILL): Phase.BACKFILLING,
    (Phase.BACKFILLING, Step.FINISH_BACKFILL): Phase.BACKFILLED,
    (Phase.BACKFILLED, Step.FIND_MORE): Phase.BACKFILLING,
    (Phase.BACKFILLED, Step.CUTOVER): Phase.CUT_OVER,
    (Phase.CUT_OVER, Step.COMPLETE): Phase.COMPLETED,
    (Phase.PREPARED, Step.ABORT): Phase.ABORTING,
    (Phase.BACKFILLING, Step.ABORT): Phase.ABORTING,
    (Phase.BACKFILLED, Step.ABORT): Phase.ABORTING,
    (Phase.PREPARED, Step.SUPERSEDE): Phase.SUPERSEDED,
    (Phase.BACKFILLING, Step.SUPERSEDE): Phase.SUPERSEDED,
    (Phase.BACKFILLED, Step.SUPERSEDE): Phase.SUPERSEDED,
    (Phase.SUPERSEDED, Step.START): Phase.PREPARED,
    (Phase.ABORTING, Step.FINISH_REVERT): Phase.ABORTED,
    (Phase.CUT_OVER, Step.ROLLBACK): Phase.ROLLING_BACK,
    (Phase.ROLLING_BACK, Step.FINISH_REVERT): Phase.ROLLED_BACK,
}

# The same command again is the recovery: these are allowed where they already are.
_AGAIN: dict[Step, frozenset[Phase]] = {
    Step.START: frozenset({Phase.PREPARED, Phase.BACKFILLING, Phase.BACKFILLED}),
    Step.ABORT: frozenset({Phase.ABORTING, Phase.ABORTED}),
    Step.ROLLBACK: frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK}),
    Step.SUPERSEDE: frozenset({Phase.SUPERSEDED}),
    Step.CUTOVER: frozenset({Phase.CUT_OVER}),
    Step.COMPLETE: frozenset({Phase.COMPLETED}),
    Step.VERIFY: frozenset({Phase.BACKFILLED, Phase.CUT_OVER}),
}

_COMMANDS = (Step.START, Step.VERIFY, Step.CUTOVER, Step.ROLLBACK, Step.COMPLETE, Step.ABORT)

ENDED = frozenset({Phase.COMPLETED, Phase.ABORTED, Phase.ROLLED_BACK})
"""Nothing leads on from these."""

OLD_ONLY = frozenset({Phase.PLANNED, Phase.ABORTED, Phase.ROLLED_BACK})
"""Phases in which only the old side is searched."""

NEW_ONLY = frozenset({Phase.CUT_OVER, Phase.COMPLETED})
"""Phases in which only the new side is searched."""

GOING_BACK = frozenset({Phase.ABORTING, Phase.ROLLING_BACK})
"""In these, items move to the old side, and a write goes there."""

WRITES_CHANGE_SIDES = GOING_BACK | {Phase.PREPARED}
"""In these a write goes to a side that the phase before did not search, or not once all had moved
from it."""

WAY_BACK_OPEN = frozenset(
    {Phase.PREPARED, Phase.BACKFILLING, Phase.BACKFILLED, Phase.SUPERSEDED, Phase.CUT_OVER}
)
"""In these, a write must serve both sides, so that going back loses nothing."""


def advance(phase: Phase, step: Step) -> Phase:
    """Return the phase that a step leads to; the same phase when the step is a repetition.

    Raises PhaseError naming the commands that are possible instead.
    """
    if (phase, step) in _MOVES:
        return _MOVES[phase, step]
    if phase in _AGAIN.get(step, ()):
        return phase
    raise PhaseError(step, phase, next_steps(phase))


def next_steps(phase: Phase) -> tuple[str, ...]:
    """List an operator's commands that lead on from here."""
    if phase in ENDED:
        return ()
    leading = tuple(str(step) for step in _COMMANDS if (phase, step) in _MOVES)
    if phase is Phase.BACKFILLED:
        return ("verify", *leading)
    if phase in (Phase.PREPARED, Phase.BACKFILLING):
        return ("start", "pause", *leading)
    if phase is Phase.ABORTING:
        return ("abort",)
    if phase is Phase.ROLLING_BACK:
        return ("rollback",)
    return leading


# Why an upgrade may not move: a list of its own, several at once ---------------------------
# Nothing forces past a hold; what causes it must end. Each says what was measured and what is
# required, so that an operator need not look elsewhere.

HoldKind: TypeAlias = Literal[
    "paused", "throttled", "postponed", "gate", "stale_verification", "error"
]


@dataclass(frozen=True, slots=True)
class Hold:
    """One reason not to move.

    kind: what sort of reason. about: the probe, metric, person or error concerned.
    measured, required: the figures, where there are any; their unit is part of `about`.
    since: seconds since the epoch.
    """

    kind: HoldKind
    about: str
    since: float
    measured: float | None = None
    required: float | None = None

    def __str__(self) -> str:
        if self.measured is None:
            return f"{self.kind} ({self.about})"
        if self.required is None:
            return f"{self.kind} {self.about}={self.measured:g}"
        sign = ">" if self.measured > self.required else "<"
        return f"{self.kind} {self.about}={self.measured:g} {sign} {self.required:g}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def hold_of_error(error: Exception, now: float) -> Hold:
    """Return the hold that says what stopped the work."""
    return Hold("error", f"{type(error).__name__}: {error}", now)


def throttles(
    measurements: Mapping[str, float], limits: Mapping[str, float], now: float
) -> tuple[Hold, ...]:
    """Compare measurements with limits: one hold for each that is above its limit.

    measurements, limits: by probe name, the unit in the name ("search_p99_milliseconds"). A limit
    whose probe has not measured yet does not hold. Pure: no clock, no I/O.
    """
    return tuple(
        Hold("throttled", name, now, measured=measurements[name], required=limit)
        for name, limit in sorted(limits.items())
        if name in measurements and measurements[name] > limit
    )
