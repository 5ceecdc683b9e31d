"""One snapshot of an upgrade, taken at one instant, from the journal alone.

Any process can take it while another runs the upgrade: it reads, and writes nothing.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping  # the annotations of Status are read when it is serialised
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from hotfill.errors import HotfillError, ModelMismatchError, UpgradeBusyError
from hotfill.locks import process_exists
from hotfill.ranking.one_space import doubts_of_rho
from hotfill.stores.records import Building
from hotfill.upgrade.astray import astray_noted
from hotfill.upgrade.guard import accepted_metrics, gate_in_force
from hotfill.upgrade.indexes import indexed_noted
from hotfill.upgrade.journal.base import WorkerLeases
from hotfill.upgrade.pace import Progress, StepPart, left_out
from hotfill.upgrade.phases import ENDED, Hold, Phase, next_steps
from hotfill.upgrade.request_limits import limits_noted

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from hotfill.stores.base import Gallery
    from hotfill.types import ModelId
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.origins import Origins
    from hotfill.upgrade.plan import Plan


_ETA_FROM_SHARE = 0.01  # an estimate of time left means nothing before this share is done
_ENDS_A_HOLD = {"paused": "resume", "gate": "resume --accept-gate"}
_ENDS_A_HOLD_OF_THE_CUTOVER = {
    "postponed": "unpostpone",
    "error": "resume",
    "throttled": "resume",
}
_HELD_BY_DEAD_LETTERS = frozenset(
    {Phase.BACKFILLED, Phase.CUT_OVER, Phase.ABORTING, Phase.ROLLING_BACK}
)
_OVER = ENDED | {Phase.SUPERSEDED}
"""Nobody works on the upgrade in these."""
_MIXED = frozenset({Phase.PLANNED, Phase.PREPARED, Phase.BACKFILLING, Phase.SUPERSEDED})
"""Where all items are embedded, some of them wait in these only."""
_SILENT_SECONDS = 10.0  # a running process beats every second
_BUSY_SECONDS = 120.0  # unless one long call of a library keeps all its threads waiting

_SLOW_SECONDS = 60.0  # a batch takes seconds; who has one for longer may hang


@dataclass(frozen=True, slots=True)
class Status:
    """Where an upgrade is. Counts are items.

    items: to be re-embedded in all, so far known. moved: re-embedded and written, in all runs.
    embedded, written: by the running process. visible: found by a vector that the new model made.
    on_new_side: those, and what is found there by an imputed vector.
    dead_letters: failed for good. rate_per_second: written, over the last half minute.
    eta_seconds: None while it would mean nothing. running: whether a process is at work now.
    quality: the newest measurement of the canaries, the fields of `Quality`; None before the first
        and without canaries. gate: required values by metric. gate_accepted: metrics that somebody
        waived. older_models: in a chain, those before the old one. accepted: dead letters that
        somebody accepted, not counted in dead_letters. rho: how well scores of imputed vectors
        follow the true ones, -1 to 1 (see `hotfill.ranking.one_space`); None where nothing is
        imputed. imputed, to_impute: old vectors imputed so far, and in all.
    ranking: `raw` or `calibrated` (see `Decisions`); None as rho.
    maps_over: where old vectors had been imputed themselves, which map carries them on, and why:
    the figures of `ChosenMap`, with `vectors` and `why` in words.
    warnings: what to know of the fit and of embedding servers, a sentence each. workers: who has
        batches in hand, the leading process too, whoever has had its oldest the longest first.
    indexed: by model, what share of its side an index covers, when that was last looked at; None
        for a side that needs none.
    doing: what the running process does now that moves no item ("preparing", "measuring",
        "indexing", "refreshing"), empty otherwise.
    part: what of a long step it does now, with how far that is ("embedding a sample", "imputing");
        None between such parts.
    building: the index that it has the store build, items moving or not; None while it builds
        none, and where only the store knows.
    batch_size: with `batch_size = "auto"`, items of a batch of the process that leads, or of who
        found it last; None before that, and where the plan says a number.
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
    accepted: int = 0
    workers: tuple[WorkerLeases, ...] = ()
    rho: float | None = None
    ranking: str | None = None
    imputed: int = 0
    to_impute: int = 0
    on_new_side: int = 0
    maps_over: tuple[Mapping[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    indexed: Mapping[str, float | None] = field(default_factory=dict)
    doing: str = ""
    batch_size: int | None = None
    building: Building | None = None
    part: StepPart | None = None

    @property
    def share(self) -> float:
        """Share of the items that are re-embedded, from 0 to 1."""
        return (self.moved + self.skipped) / self.items if self.items else 0.0

    @property
    def slow_workers(self) -> list[WorkerLeases]:
        """Those that have had a batch for so long that they may hang."""
        return [each for each in self.workers if each.seconds >= _SLOW_SECONDS]

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
            "maps_over": [dict(each) for each in self.maps_over],
            "warnings": list(self.warnings),
            "workers": [asdict(each) for each in self.workers],
            "indexed": dict(self.indexed),
        }


def take_status(journal: Journal, plan: Plan) -> Status:
    """Read the status. `visible` is as the running process last said."""
    now = time.time()
    phase = journal.phase
    beat = journal.last_beat()
    tally, imputing = journal.tally("embed"), journal.tally("prefill")
    started = journal.last("started")
    ended = journal.last("backfilled")
    holds = own = journal.holds()
    if (astray := astray_noted(journal)) is not None:
        holds = (*holds, Hold("error", astray.body["said"], astray.at))
    running = _is_alive(beat, now - beat.get("at", 0.0))
    rate = float(beat.get("rate_per_second", 0.0)) if running else 0.0
    share = (tally.moved + tally.skipped) / tally.total if tally.total else 0.0
    known = phase is Phase.BACKFILLING and rate > 0 and share >= _ETA_FROM_SHARE and not holds
    measured = journal.last("quality")
    fitted = journal.last("fit")
    fit = {} if fitted is None else fitted.body
    rho = fit.get("rho")
    gate = gate_in_force(journal) if journal.last("plan") else dict(plan.gate)
    until = now
    if ended and phase is not Phase.BACKFILLING:
        until = ended.at
    elif phase in _OVER and (last := journal.last("phase")) is not None:
        until = last.at
    return Status(
        phase=phase,
        holds=holds,
        old_model=_shown(plan.old_model),
        new_model=_shown(plan.new_model),
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
        next_steps=_next(phase, own, _first(journal, phase)),
        quality=measured.body if measured else None,
        gate=gate,
        older_models=tuple(str(model) for model in plan.older_models),
        gate_accepted=tuple(sorted(accepted_metrics(journal))) if gate else (),
        accepted=len(journal.dead_letters(accepted=True)),
        workers=journal.workers(),
        rho=rho,
        ranking=fit.get("ranking"),
        imputed=imputing.moved + imputing.skipped,
        to_impute=imputing.total,
        indexed=_indexed(journal, plan),
        doing=str(beat.get("doing", "")) if running else "",
        batch_size=_batch_size(journal, beat) if plan.batch_size == "auto" else None,
        building=Building(**beat["building"]) if running and beat.get("building") else None,
        part=StepPart(**beat["part"]) if running and beat.get("part") else None,
        on_new_side=int(beat.get("on_new_side", 0)),
        maps_over=tuple(fit.get("maps_over", ())),
        warnings=(
            *limits_noted(journal),
            *_warnings(journal, plan, fit),
            *_left_out(journal, phase),
        ),
    )


def _batch_size(journal: Journal, beat: Mapping[str, Any]) -> int | None:
    found = journal.last("batch_size")
    return beat.get("batch_size") or (None if found is None else int(found.body["items"]))


def items_wait(phase: Phase, plan: Plan) -> bool:
    """Tell whether items may be searched by what was imputed or mapped, so that the fit matters."""
    return plan.backfill != "all" or phase in _MIXED


def _warnings(journal: Journal, plan: Plan, fit: Mapping[str, Any]) -> tuple[str, ...]:
    criterion = journal.last("criterion")
    if criterion is not None and criterion.body["met"] is None:
        return (f"whether the models are compatible is open: {criterion.body['said']}",)
    if "rho" not in fit or plan.queries == "both":
        return ()
    if not items_wait(journal.phase, plan):
        return ()
    return doubts_of_rho(fit["rho"], by_items=bool(fit["rho_by_items"]))


def _left_out(journal: Journal, phase: Phase) -> tuple[str, ...]:
    dear = left_out(journal) if phase is Phase.BACKFILLING else None
    return () if dear is None else (str(dear),)


def _shown(model: ModelId) -> str:
    """Show a model; by its name alone where nobody has loaded it (`Parts.sketch`)."""
    return str(model) if model.revision else model.name


def _indexed(journal: Journal, plan: Plan) -> dict[str, float | None]:
    noted = indexed_noted(journal)
    models = (*plan.old_models, plan.new_model)
    return {str(each): noted[each.fingerprint] for each in models if each.fingerprint in noted}


def _first(journal: Journal, phase: Phase) -> str:
    """Name the command that comes before all others, by what was last seen of the store."""
    if phase in _HELD_BY_DEAD_LETTERS and journal.dead_letters():
        return "dead-letters"
    if (astray := astray_noted(journal)) is not None:
        return str(astray.body["remedy"])
    verified = journal.last("verified")
    if phase is Phase.BACKFILLED and verified is not None:
        backfilled = journal.last("backfilled")
        is_later = backfilled is None or verified.number > backfilled.number
        if is_later and (verified.body["elsewhere"] or verified.body["foreign"]):
            return "start"  # found by the proof: what came in since
    return ""


def _next(phase: Phase, holds: tuple[Hold, ...], first: str) -> tuple[str, ...]:
    steps = next_steps(phase)
    if first:
        steps = (first, *(step for step in steps if step != first))
    kinds = {hold.kind for hold in holds}
    ends = dict(_ENDS_A_HOLD)
    if phase is Phase.BACKFILLED:  # nothing but the cutover is held there, and by these, too
        ends |= _ENDS_A_HOLD_OF_THE_CUTOVER
    waits = dict.fromkeys(name for kind, name in ends.items() if kind in kinds)
    if not waits:
        return steps
    return (*waits, *(step for step in steps if step not in ("start", "pause")))


def _is_alive(beat: Mapping[str, Any], silent_seconds: float) -> bool:
    pid = beat.get("pid")
    if pid is None:
        return False
    if beat.get("host", socket.gethostname()) != socket.gethostname():
        # Another machine's processes cannot be asked; its beats must do.
        return silent_seconds < _SILENT_SECONDS
    return silent_seconds < _BUSY_SECONDS and process_exists(pid)


# Which models a gallery holds now, and how far each has come -------------------------------------


@dataclass(frozen=True, slots=True)
class OriginCount:
    """How many items are found by vectors of one origin, in words: imputed from which, by what.

    why: where a map was chosen for them, which and why.
    """

    origin: str
    items: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a gallery is searched in the space of one model.

    model: with its revision. items: searched there. embedded: of these, those whose vector the
    model itself made; a transform made the others. share: of all items, from 0 to 1.
    imputed: the others by origin, as far as the store knows it.
    """

    model: str
    items: int
    embedded: int
    share: float
    imputed: tuple[OriginCount, ...] = ()


@dataclass(frozen=True, slots=True)
class Current:
    """The models of a gallery, oldest first.

    recorded_by: the store, or the journal as the process at work last wrote it.
    """

    models: tuple[Coverage, ...]
    recorded_by: Literal["store", "journal"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "models": [asdict(each) for each in self.models]}


def current_of(gallery: Gallery, origins: Origins) -> Current:
    """Count in the store. origins: of its imputed vectors."""
    total = len(gallery)
    return Current(
        tuple(
            _coverage(
                str(space),
                gallery.count(space),
                gallery.count(space, origin=space.fingerprint),
                total,
                tuple(
                    OriginCount(str(each), count, each.why)
                    for each in origins.of(space)
                    if (count := gallery.count(space, origin=each.origin))
                ),
            )
            for space in gallery.spaces
        ),
        "store",
    )


def current_recorded(status: Status) -> Current:
    """Work it out from a status, for when another process has the store open."""
    total = max(status.items, status.on_new_side)
    embedded = min(status.moved + status.skipped, status.visible)
    old = total - status.on_new_side
    return Current(
        (
            _coverage(status.old_model, old, old, total),
            _coverage(status.new_model, status.on_new_side, embedded, total),
        ),
        "journal",
    )


def _coverage(
    model: str, items: int, embedded: int, total: int, imputed: tuple[OriginCount, ...] = ()
) -> Coverage:
    return Coverage(model, items, embedded, items / total if total else 0.0, imputed)


# A running upgrade says every second how far it is, for whoever watches --------------------------

_BEAT_SECONDS = 1.0
_RATE_SECONDS = 30.0  # the rate is an average over this long


class RateMeter:
    """Says how fast counts rise, as averages over the last seconds.

    over_seconds: how long. Counts that fall (on the way back, or after a restart) have the rate 0.
    """

    def __init__(self, over_seconds: float) -> None:
        self._over_seconds = over_seconds
        self._noted: deque[tuple[float, tuple[int, ...]]] = deque()

    def note(self, now: float, *counts: int) -> tuple[float, ...]:
        """Note counts, always as many; return the rate of each, per second. now: in seconds."""
        self._noted.append((now, counts))
        while now - self._noted[0][0] > self._over_seconds:
            self._noted.popleft()
        then, before = self._noted[0]
        seconds = now - then
        return tuple(
            max(0.0, (count - was) / seconds) if seconds > 0 else 0.0
            for count, was in zip(counts, before, strict=True)
        )


class Heartbeat:
    """Beats in a thread of its own while the block runs, and once at its end.

    Each beat asks whether this process still leads; one that does not says nothing more.
    """

    def __init__(
        self,
        journal: Journal,
        plan: Plan,
        gallery: Gallery,
        progress: Progress,
        on_status: Callable[[Status], None],
    ) -> None:
        self._journal = journal
        self._plan = plan
        self._gallery = gallery
        self._progress = progress
        self._on_status = on_status
        self._meter = RateMeter(_RATE_SECONDS)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hotfill-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._beat()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        # Also after an error: nobody is at work then. That error counts, not one of this beat.
        with suppress(UpgradeBusyError) if kind is None else suppress(HotfillError):
            self._beat(last=True)

    def _run(self) -> None:
        while not self._stop.wait(_BEAT_SECONDS):
            with suppress(HotfillError):  # a full disk, say: the work itself meets it, and tells
                self._beat()

    def _beat(self, last: bool = False) -> None:
        self._journal.check_leading()
        (rate,) = self._meter.note(time.monotonic(), self._progress.written)
        self._journal.beat(
            pid=None if last else os.getpid(),  # from now on nobody is at work
            host=socket.gethostname(),
            embedded=self._progress.embedded,
            written=self._progress.written,
            visible=self._visible(self._plan.new_model.fingerprint),
            on_new_side=self._visible(),
            rate_per_second=rate,
            working_seconds=self._progress.working_seconds,
            doing=self._progress.doing,
            batch_size=self._progress.batch_size,
            building=None if (now := self._gallery.building) is None else asdict(now),
            part=None if (part := self._progress.part) is None else asdict(part),
        )
        self._on_status(take_status(self._journal, self._plan))

    def _visible(self, made_by: str | None = None) -> int:
        try:
            return self._gallery.count(self._plan.new_model, origin=made_by)
        except ModelMismatchError:  # not prepared yet, or gone on the way back
            return 0
