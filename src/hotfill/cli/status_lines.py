"""The status in a few lines, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hotfill.upgrade.status import Status


_SLOW_SECONDS = 60.0  # a batch takes seconds; who has one for longer may hang


def status_lines(status: Status, *, steps: bool = False) -> list[str]:
    """Return one line of how far it is and one of why and how long. steps: name the next ones.

    Between them stands one of what the canaries showed, where there are any.

    backfilling 595,700/752,865 (79.1%)  embedded 1,204  written 1,200  visible 595,700  412/s
    held: throttled search_p99=212 > 150   elapsed 2m55s (working 2m26s)   eta 1m17s   next: pause
    """
    done = status.moved + status.skipped
    first = [str(status.phase)]
    if status.items:
        first[0] += f" {done:,}/{status.items:,} ({_percent(status.share)})"
    if status.running or status.embedded:
        first.append(counts(status))
    if status.dead_letters:
        first.append(f"dead letters {status.dead_letters:,}")
    if status.accepted:
        first.append(f"accepted {status.accepted:,}")
    if status.rate_per_second:
        first.append(rate(status.rate_per_second))
    second = []
    if status.holds:
        second.append("held: " + "; ".join(str(hold) for hold in status.holds))
    if status.elapsed_seconds:
        working = f" (working {duration(status.working_seconds)})" if status.working_seconds else ""
        second.append(f"elapsed {duration(status.elapsed_seconds)}{working}")
    if status.eta_seconds is not None:
        second.append(f"eta {duration(status.eta_seconds)}")
    second.append(f"process {status.pid} at work" if status.running else "no process at work")
    if steps:
        second.append("next: " + (" | ".join(status.next_steps) or "nothing, this has ended"))
    lines = ["  ".join(first), "   ".join(second)]
    if slow := [each for each in status.workers if each.seconds >= _SLOW_SECONDS]:
        lines.append(
            "slow: "
            + "; ".join(f"{each.owner} has a batch for {duration(each.seconds)}" for each in slow)
        )
    if status.quality is not None:
        lines.insert(1, quality_line(status.quality, status.gate, status.gate_accepted))
    return lines


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


def rate(per_second: float) -> str:
    """Items per second."""
    return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.1f}/s"


def duration(seconds: float) -> str:
    """Say 3.2s, 2m55s, 1h04m or 3d02h."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if minutes < 60:
        return f"{minutes}m{int(seconds % 60):02}s"
    if hours < 24:
        return f"{hours}h{minutes % 60:02}m"
    return f"{days}d{hours % 24:02}h"


def _percent(share: float) -> str:
    # Never "100.0%" before all is done.
    return f"{min(share, 0.999) if share < 1 else 1:.1%}"
