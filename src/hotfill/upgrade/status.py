"""One snapshot of an upgrade, taken at one instant, from the journal alone.

Any process can take it while another runs the upgrade: it reads, and writes nothing.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from hotfill.upgrade.guard.gate import accepted_metrics, gate_in_force
from hotfill.upgrade.phases import Phase, next_steps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.upgrade.holds import Hold
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.plan import Plan

_ETA_FROM_SHARE = 0.01  # an estimate of time left means nothing before this share is done
_ENDS_A_HOLD = {"paused": "resume", "gate": "resume --accept-gate"}
_SILENT_SECONDS = 10.0  # a running process beats every second


@dataclass(frozen=True, slots=True)
class Status:
    """Where an upgrade is. Counts are items.

    items: to be redone in all, so far known. moved: redone and written, in every run together.
    embedded, written: by the running process. visible: on the new side, as searches see it.
    dead_letters: failed for good. rate_per_second: written, over the last half minute.
    eta_seconds: None while it would mean nothing. running: whether a process is at work now.
    quality: the newest measurement of the canaries, the fields of `Quality`; None before the first
        and without canaries. gate: required values by metric. gate_accepted: metrics that somebody
        let pass. older_models: in a chain, those before the old one.
    """

    phase: Phase
    holds: tuple[Hold, ...]
    old_model: str
    new_model: str
    strategy: str
    items: int
    moved: int
    skipped: int
    embedded: int
    written: int
    visible: int
    dead_letters: int
    rate_per_second: float
    elapsed_seconds: float
    working_seconds: float
    eta_seconds: float | None
    running: bool
    pid: int | None
    next_steps: tuple[str, ...]
    quality: Mapping[str, Any] | None = None
    gate: Mapping[str, float] = field(default_factory=dict)
    gate_accepted: tuple[str, ...] = ()
    older_models: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of the items that are redone, from 0 to 1."""
        return (self.moved + self.skipped) / self.items if self.items else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; `held` is true when there are holds."""
        return {
            **asdict(self),
            "phase": str(self.phase),
            "share": self.share,
            "holds": [hold.to_dict() for hold in self.holds],
            "next_steps": list(self.next_steps),
            "gate_accepted": list(self.gate_accepted),
            "older_models": list(self.older_models),
        }


def take_status(journal: Journal, plan: Plan) -> Status:
    """Read the status. `visible` is as the running process last said."""
    now = time.time()
    phase = journal.phase
    beat = journal.last_beat()
    tally = journal.tally("embed")
    started = journal.last("started")
    ended = journal.last("backfilled")
    holds = journal.holds()
    running = now - beat.get("at", 0.0) < _SILENT_SECONDS and _is_alive(beat)
    rate = float(beat.get("rate_per_second", 0.0)) if running else 0.0
    share = (tally.moved + tally.skipped) / tally.total if tally.total else 0.0
    known = phase is Phase.BACKFILLING and rate > 0 and share >= _ETA_FROM_SHARE and not holds
    measured = journal.last("quality")
    gate = gate_in_force(journal) if journal.last("plan") else dict(plan.gate)
    until = ended.at if ended and phase is not Phase.BACKFILLING else now
    return Status(
        phase=phase,
        holds=holds,
        old_model=str(plan.old_model),
        new_model=str(plan.new_model),
        strategy=plan.strategy,
        items=tally.total or plan.items,
        moved=tally.moved,
        skipped=tally.skipped,
        embedded=int(beat.get("embedded", 0)),
        written=int(beat.get("written", 0)),
        visible=int(beat.get("visible", 0)),
        dead_letters=len(journal.dead_letters()),
        rate_per_second=rate,
        elapsed_seconds=until - started.at if started else 0.0,
        working_seconds=float(beat.get("working_seconds", 0.0)),
        eta_seconds=tally.left / rate if known else None,
        running=running,
        pid=beat.get("pid") if running else None,
        next_steps=_next(phase, holds),
        quality=measured.body if measured else None,
        gate=gate,
        older_models=tuple(str(model) for model in plan.older_models),
        gate_accepted=tuple(sorted(accepted_metrics(journal))) if gate else (),
    )


def _next(phase: Phase, holds: tuple[Hold, ...]) -> tuple[str, ...]:
    steps = next_steps(phase)
    kinds = {hold.kind for hold in holds}
    waits = [name for kind, name in _ENDS_A_HOLD.items() if kind in kinds]
    if not waits:
        return steps
    return (*waits, *(step for step in steps if step not in ("start", "pause")))


def _is_alive(beat: Mapping[str, Any]) -> bool:
    pid = beat.get("pid")
    if pid is None:
        return False
    if beat.get("host", socket.gethostname()) != socket.gethostname():
        return True  # another machine's processes cannot be asked; its beats must do
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
