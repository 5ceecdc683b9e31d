"""The phase as a line of steps, and in a sentence: what is going on, and what comes next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal, TypeAlias

from hotfill.formatting import count, duration, percent
from hotfill.upgrade.indexes import partly_indexed
from hotfill.upgrade.phases import NEW_ONLY, OLD_ONLY, Phase

if TYPE_CHECKING:
    from hotfill.service.snapshot import UpgradeSnapshot
    from hotfill.upgrade.journal.base import Fact

_SEARCHES_TO_COMPARE = 50  # of each kind; fewer say little about a median

State: TypeAlias = Literal["done", "now", "to come"]

_FORWARD = (
    (Phase.PLANNED, "Planned"),
    (Phase.PREPARED, "Prepared"),
    (Phase.BACKFILLING, "Backfilling"),
    (Phase.BACKFILLED, "Backfilled"),
    (Phase.CUT_OVER, "Cut over"),
    (Phase.COMPLETED, "Completed"),
)

_ASIDE = {
    Phase.SUPERSEDED: "Superseded",
    Phase.ABORTING: "Going back",
    Phase.ABORTED: "Aborted",
    Phase.ROLLING_BACK: "Going back",
    Phase.ROLLED_BACK: "Rolled back",
}

_NAMES = {**dict(_FORWARD), **_ASIDE}

_SENTENCES = {
    Phase.SUPERSEDED: "An upgrade to a third model has taken the items over. Look at that one.",
    Phase.PLANNED: "Nothing has been touched. Searches use the old model.",
    Phase.PREPARED: "The store has room for new vectors. Searches use the new model, "
    "on both sides.",
    Phase.BACKFILLING: "Items are re-embedded by the new model. Every search looks at both "
    "sides and gives one ranking.",
    Phase.BACKFILLED: "Every item is on the new side. The old vectors are kept.",
    Phase.CUT_OVER: "Searches use the new side only. The old vectors are kept, so there is a way "
    "back.",
    Phase.COMPLETED: "The old vectors are gone. This upgrade has ended.",
    Phase.ABORTING: "Items go back to the old model. Searches stay correct.",
    Phase.ABORTED: "Everything is on the old model again. This upgrade has ended.",
    Phase.ROLLING_BACK: "Items go back to the old model. Searches stay correct.",
    Phase.ROLLED_BACK: "Everything is on the old model again. This upgrade has ended.",
}


@dataclass(frozen=True, slots=True)
class Stop:
    """One step on the line."""

    name: str
    state: State


def line_of(phase: Phase) -> list[Stop]:
    """Return the line of steps, with where we are."""
    forward = [each for each, _ in _FORWARD]
    if phase in forward:
        here = forward.index(phase)
        return [Stop(name, _state(i, here)) for i, (_, name) in enumerate(_FORWARD)]
    if phase is Phase.SUPERSEDED:
        return [Stop("Planned", "done"), Stop("Prepared", "done"), Stop(_NAMES[phase], "now")]
    way = ["Planned", "Prepared", "Backfilled", "Cut over"]
    if phase in (Phase.ABORTING, Phase.ABORTED):
        way = way[:2]
    end = "Aborted" if phase in (Phase.ABORTING, Phase.ABORTED) else "Rolled back"
    ended = phase in (Phase.ABORTED, Phase.ROLLED_BACK)
    return [
        *(Stop(name, "done") for name in way),
        Stop("Going back", "done" if ended else "now"),
        Stop(end, "now" if ended else "to come"),
    ]


def _state(position: int, here: int) -> State:
    if position == here:
        return "now"
    return "done" if position < here else "to come"


def name_of(phase: Phase) -> str:
    """Name a phase."""
    return _NAMES[phase]


def sentence(seen: UpgradeSnapshot) -> str:
    """Say what is going on."""
    status = seen.status
    if status.phase is Phase.BACKFILLED and seen.old_items:
        left = "1 item" if seen.old_items == 1 else f"{count(seen.old_items)} items"
        return f"All but {left} are on the new side. The old vectors are kept."
    if status.strategy != "prefill" or status.phase not in (Phase.PREPARED, Phase.BACKFILLING):
        return _SENTENCES[status.phase]
    if status.doing == "refreshing":
        to_go = max(status.to_impute - status.imputed, 0)
        return (
            "Imputed vectors are made anew, by what the moved items show: "
            f"{count(to_go)} to go. Then items move again; the new index alone is searched."
        )
    if status.imputed < status.to_impute or not status.to_impute:
        return (
            f"Old vectors are imputed into the new index: {count(status.imputed)} of "
            f"{count(status.to_impute)} so far. Until then a search looks at both sides."
        )
    return (
        "Items are re-embedded by the new model. Old vectors were imputed into the new index, "
        "which alone is searched."
    )


def warnings(seen: UpgradeSnapshot) -> list[str]:
    """Say what to know of the fit, of sides without their index, and of workers that may hang."""
    status = seen.status
    over = NEW_ONLY | {Phase.BACKFILLED, Phase.ABORTED, Phase.ROLLED_BACK, Phase.SUPERSEDED}
    mixed = seen.imputed_items or status.phase not in over
    found = [each[:1].upper() + each[1:] for each in status.warnings if mixed]
    lacking = partly_indexed(status.indexed) if status.building is None else {}  # else it comes
    found += [
        f"Only {percent(share)} of {model} is indexed: a search compares with all other items "
        "one by one. `hotfill optimise` builds the index."
        for model, share in lacking.items()
    ]
    found += [
        f"{each.owner} has had a batch for {duration(each.seconds)}: "
        + ("it may hang." if status.running else "it has ended, or it hangs.")
        for each in status.slow_workers
    ]
    return found


def next_sentence(seen: UpgradeSnapshot, verified: bool) -> str:
    """Say what is best done next."""
    status, run = seen.status, seen.run
    if run is not None and run.running and run.step != "start":
        return f"{run.step.capitalize()} is running."
    paused = any(hold.kind == "paused" for hold in status.holds)
    working = run is not None and run.running
    gated = any(hold.kind == "gate" for hold in status.holds)
    throttled = any(hold.kind == "throttled" for hold in status.holds)
    match status.phase:
        case Phase.PLANNED if working:
            return "Preparing: a sample is embedded, and the map between the models is fitted."
        case Phase.PLANNED:
            return "Start when you are ready: searches and writes go on throughout."
        case Phase.PREPARED | Phase.BACKFILLING if gated:
            return "The canaries got worse than you allow. Abort, or look at them and go on anyway."
        case Phase.PREPARED | Phase.BACKFILLING if paused and not working:
            return "Paused, and nobody is at work. Resume, then continue: nothing is lost."
        case Phase.PREPARED | Phase.BACKFILLING if paused:
            return "Paused. Resume when you like; nothing is lost by waiting."
        case Phase.PREPARED | Phase.BACKFILLING if not working:
            return "Nobody is at work. Continue: it goes on where it ended."
        case Phase.PREPARED | Phase.BACKFILLING if throttled:
            return (
                "A limit is passed: no batch begins until it is met again, then it goes on by "
                "itself. Pause or abort at any time."
            )
        case Phase.PREPARED | Phase.BACKFILLING if status.doing == "measuring":
            return (
                "The canaries are measured; no batch begins until that is done. Nothing to do but "
                "wait."
            )
        case Phase.PREPARED | Phase.BACKFILLING if status.doing == "indexing":
            far = f" ({status.building})" if status.building is not None else ""
            return (
                f"The store builds an index{far}; no item moves until it is done. Nothing to do "
                "but wait."
            )
        case Phase.PREPARED | Phase.BACKFILLING if status.building is not None:
            return f"Nothing to do but wait. An index is built, too: {status.building}."
        case Phase.PREPARED | Phase.BACKFILLING:
            return "Nothing to do but wait. Pause or abort at any time."
        case Phase.BACKFILLED if status.dead_letters:
            one = status.dead_letters == 1
            failed = "1 item" if one else f"{count(status.dead_letters)} items"
            return f"{failed} failed for good: fix and try {'it' if one else 'them'} again."
        case Phase.BACKFILLED if verified:
            return "Verified. Cut over when you are ready."
        case Phase.BACKFILLED:
            return "Verify next: every id, every stamp, and a sample embedded again."
        case Phase.SUPERSEDED:
            return "Nothing to do here. If the other upgrade is aborted, continue this one."
        case Phase.CUT_OVER:
            return "Complete when you are sure of the new model; roll back if you are not."
        case Phase.ABORTING | Phase.ROLLING_BACK if not working:
            return "It was interrupted. Continue: it goes on where it ended."
        case Phase.COMPLETED if working and paused:
            return "Paused. Resume when you like; nothing is lost by waiting."
        case Phase.COMPLETED if working:
            return "Items that stayed imputed are embedded; searches and writes go on throughout."
        case Phase.COMPLETED if seen.imputed_items:
            return _stayed_imputed(seen.imputed_items, embeds_more=seen.embeds_more)
        case Phase.ABORTED | Phase.ROLLED_BACK:
            return "To upgrade again: `hotfill serve --new`. The record of this upgrade is kept."
        case _:
            return ""


def _stayed_imputed(items: int, *, embeds_more: bool) -> str:
    """Say how items that stayed imputed can be embedded. embeds_more: as the file decides now."""
    stayed = "1 item" if items == 1 else f"{count(items)} items"
    if embeds_more:
        return f"{stayed} stayed imputed: embed more when you like."
    return (
        f'{stayed} stayed imputed, as `backfill = "none"` says. To embed some: write "all" or '
        '"budget" there, start the service again, then "Embed more".'
    )


def time_left(seen: UpgradeSnapshot) -> str:
    """Say how long it will take; a dash while nothing is known of it."""
    left = seen.status.eta_seconds
    return "\N{EN DASH}" if left is None else f"about {duration(left)}"


def cost_sentence(seen: UpgradeSnapshot) -> str:
    """Say what a search costs now, once that is known and more than a fifth over before."""
    medians = {
        each.sides: each.p50_seconds
        for each in seen.latencies
        if each.searches >= _SEARCHES_TO_COMPARE
    }
    mixed = seen.status.phase not in OLD_ONLY | NEW_ONLY
    if not mixed or not {"old", "both"} <= medians.keys():
        return ""
    ratio = medians["both"] / medians["old"]
    if ratio < 1.2:
        return ""
    return (
        f"A search takes {ratio:.1f} times as long as before the upgrade "
        "(medians, with the embedding of the query)."
    )


def announcement(seen: UpgradeSnapshot) -> str:
    """Say what a listener must hear: it changes rarely, not with every item."""
    status = seen.status
    parts = [name_of(status.phase)]
    if status.phase is Phase.BACKFILLING:
        parts.append(f"{int(seen.coverage * 10) * 10} percent re-embedded")
    parts += [f"held: {hold}" for hold in status.holds]
    if seen.run is not None and seen.run.error is not None:
        parts.append(f"{seen.run.step} failed: {seen.run.error['detail']}")
    return "; ".join(parts)


def fact_text(fact: Fact) -> str:
    """Say what a fact of the journal means."""
    body = fact.body
    match fact.kind:
        case "phase":
            return name_of(Phase(body["phase"]))
        case "verified":
            outcome = "passed" if body["passed"] else "failed"
            return f"Verification {outcome}: {count(body['items'])} items"
        case "canaries":
            return f"{count(body['queries'])} canaries searched with the old model"
        case "fit":
            return "The maps between both models are fitted"
        case "gate_accepted":
            metrics = ", ".join(name.replace("_", " ") for name in body["metrics"])
            return f"Gate accepted by {body['by']}: {metrics}"
        case "superseded":
            return f"Taken over by {PurePath(body['by']).name}"
        case "paused":
            return f"Paused by {body['by']}"
        case "plan":
            return f"Plan agreed: {body['strategy']}, {body['order']} order"
        case "started":
            return "Started"
        case "refresh" if "too_dear" in body:
            return "Imputed vectors stay: making them anew would take too long"
        case "refresh" if body.get("kept") is False:
            return "Imputed vectors stay: the moved items would change them too little"
        case "refit":
            return "The maps were fitted again: " + ("better" if body["kept"] else "no better")
        case "refresh":
            return "Imputed vectors are made anew, by what the moved items show"
        case "indexed":
            return "The indexes were looked at"
        case "resumed":
            return "Resumed"
        case "backfilled":
            return "The backfill is done"
        case "budget":
            return f"Budget: {count(body['items'])} items are embedded, the rest stays imputed"
        case "criterion":
            return "New queries over old vectors were compared with old ones"
        case "began":
            return "Work for the backfill was listed"
        case "more":
            return "Items that stayed imputed are to be embedded"
        case "more_done":
            return "As many of them are embedded as were to be"
        case kind:
            return kind.replace("_", " ").capitalize()
