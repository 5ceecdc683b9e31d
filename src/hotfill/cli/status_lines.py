"""A status, a verification in a few lines, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotfill.formatting import duration, percent, rate
from hotfill.upgrade.indexes import partly_indexed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hotfill.upgrade.status import Current, Status
    from hotfill.upgrade.verify import Verification


def status_lines(status: Status, *, steps: bool = False) -> list[str]:
    """Return one line of how far it is and one of why and how long. steps: name the next ones.

    Between them stands one of what the canaries showed, where there are any.

    backfilling 595,700/752,865 (79.1%)  embedded 1,204  written 1,200  visible 595,700  412/s
    held: throttled search_p99=212 > 150   elapsed 2 min 55 s (working 2 min 26 s)   next: pause
    """
    done = status.moved + status.skipped
    first = [str(status.phase) + (f", {status.doing}" if status.doing else "")]
    if status.items:
        first[0] += f" {done:,}/{status.items:,} ({percent(status.share)})"
    if status.part is not None:
        first.append(str(status.part))
    elif status.to_impute and (
        status.imputed < status.to_impute if status.phase == "backfilling" else status.share < 1
    ):
        first.append(f"imputed {status.imputed:,}/{status.to_impute:,}")
    if status.running or status.embedded:
        first.append(counts(status))
    if status.building is not None:
        first.append(f"building an index {status.building}")
    if status.dead_letters:
        first.append(f"dead letters {status.dead_letters:,}")
    if status.accepted:
        first.append(f"accepted {status.accepted:,}")
    if status.rate_per_second:
        first.append(f"{rate(status.rate_per_second)}/s")
    if status.batch_size:
        first.append(batches(status.batch_size))
    second = []
    if status.holds:
        second.append("held: " + "; ".join(str(hold) for hold in status.holds))
    if status.elapsed_seconds:
        working = f" (working {duration(status.working_seconds)})" if status.working_seconds else ""
        second.append(f"elapsed {duration(status.elapsed_seconds)}{working}")
    if status.eta_seconds is not None:
        second.append(f"eta {duration(status.eta_seconds)}")
    if status.rho is not None:
        ranking = f"ranking {status.ranking}, " if status.ranking is not None else ""
        second.append(f"{ranking}rho {status.rho:.2f}")
    second.append(f"process {status.pid} at work" if status.running else "no process at work")
    if steps:
        second.append("next: " + (" | ".join(steps_now(status)) or "nothing, this has ended"))
    lines = ["  ".join(first), "   ".join(second)]
    if slow := status.slow_workers:
        lines.append(
            "slow: "
            + "; ".join(f"{each.owner} has a batch for {duration(each.seconds)}" for each in slow)
        )
    lines += [f"vectors {each['vectors']}: {each['why']}" for each in status.maps_over]
    lines += [f"warning: {each}" for each in status.warnings]
    if status.building is None:  # else it comes
        lines += index_lines(status.indexed)
    if status.quality is not None:
        lines.insert(1, quality_line(status.quality, status.gate, status.gate_accepted))
    return lines


def steps_now(status: Status) -> list[str]:
    """List the next commands; while a process is at work it is watched, not started again."""
    return ["watch" if status.running and step == "start" else step for step in status.next_steps]


def index_lines(indexed: Mapping[str, float | None]) -> list[str]:
    """Name the sides that are searched without the index they need. indexed: by model."""
    return [
        f"warning: {percent(share)} of {model} is indexed, so that searches compare with all "
        "others one by one; `hotfill optimise` builds it"
        for model, share in partly_indexed(indexed).items()
    ]


def quality_line(
    quality: Mapping[str, Any], gate: Mapping[str, float], accepted: Collection[str]
) -> str:
    """Say what the canaries showed last, each figure with what is required of it."""
    parts = [f"canaries at {quality['coverage']:.0%}:"]
    for name in ("agreement", "old_overlap", "first_kept", "flips", "new_share"):
        if quality[name] is None:
            continue
        part = f"{name} {quality[name]:.3f}"
        if name in gate:
            ruling = "accepted" if name in accepted else f"gate {gate[name]:g}"
            part += f" ({ruling})"
        parts.append(part)
    return "  ".join(parts)


def counts(status: Status) -> str:
    """What this process embedded and wrote, and what searches see."""
    return f"embedded {status.embedded:,}  written {status.written:,}  visible {status.visible:,}"


def batches(items: int) -> str:
    """Say how many items a batch takes."""
    return f"batches of {items:,}"


def coverage_lines(now: Current) -> list[str]:
    """Say to people which models cover how much of a gallery."""
    lines = []
    for each in now.models:
        mapped = each.items - each.embedded
        note = f", {mapped:,} of them mapped by a transform" if mapped else ""
        lines.append(f"{each.share:7.1%}  {each.model}  {each.items:,} items{note}")
        for origin in each.imputed:
            why = f" ({origin.why})" if origin.why else ""
            lines.append(f"         {origin.items:,} {origin.origin}{why}")
    if now.recorded_by == "journal":
        lines.append("as the process at work last wrote to the journal: it has the store open")
    return lines


def verification_lines(found: Verification) -> list[str]:
    """Say to people what a verification found."""
    lines = [
        f"{'passed' if found.passed else 'failed'}: {found.items:,} items on the new side; "
        f"{found.sampled} embedded again, lowest similarity {found.lowest_similarity:.5f}"
    ]
    if found.imputed:
        more = " ..." if found.imputed > len(found.imputed_ids) else ""
        lines.append(
            f"  {found.imputed:,} stay imputed, {found.remapped} of them imputed again: "
            f"{', '.join(found.imputed_ids)}{more}"
        )
    wrong = [
        (found.missing, "gone, but not deleted through hotfill", found.missing_ids),
        (found.elsewhere, "not on the new side", ()),
        (found.foreign, "on the new side by vectors that nothing in force made", ()),
        (found.dead_letters, "dead letters; `hotfill status` names them", ()),
        (found.disagreeing, "stored otherwise than embedded now", found.disagreeing_ids),
        (found.misplaced, "stored otherwise than imputed now", found.misplaced_ids),
    ]
    for count, what, item_ids in wrong:
        if count:
            names = f": {', '.join(item_ids)}" if item_ids else ""
            lines.append(f"  {count:,} {what}{names}{' ...' if count > len(item_ids) > 0 else ''}")
    return [*lines, *index_lines({"the new side": found.indexed})]
