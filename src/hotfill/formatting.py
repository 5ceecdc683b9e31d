"""Numbers, durations and moments as people read them, in the terminal and on the dashboard."""

from __future__ import annotations

from datetime import UTC, datetime


def count(number: float) -> str:
    """Return a whole number with separators: 1,204."""
    return f"{number:,.0f}"


def rate(per_second: float) -> str:
    """Return items per second, without the unit: 412, 3.2, 0.026 or 0."""
    if per_second >= 10 or per_second == 0:
        return f"{per_second:,.0f}"
    return f"{per_second:.1f}" if per_second >= 1 else f"{per_second:.2g}"


def percent(share: float) -> str:
    """Return a share from 0 to 1 as 41.3%; 100.0% only for all, and 0.0% only for none."""
    if 0 < share < 1:
        share = min(max(share, 0.001), 0.999)
    return f"{100 * share:.1f}%"


def milliseconds(seconds: float) -> str:
    """Return seconds in milliseconds, without the unit: 0.43, 12.1 or 240."""
    value = 1000 * seconds
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Return seconds in their two largest units: 3.2 s, 42 s, 2 min 5 s, 1 h 4 min or 3 d 2 h."""
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, length, smaller, part in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // part} {smaller}"
    return f"{whole} s"


def far(done: int, total: int, seconds: float) -> str:
    """Say how far counted work is, how quick, and how long it takes yet: 12/50, 4.0/s, eta 9.5 s.

    seconds: since it began. The pace is that of all of it, so that it takes as long at least.
    """
    if not done or seconds <= 0:
        return f"{done:,}/{total:,}"
    pace = done / seconds
    return f"{done:,}/{total:,}, {rate(pace)}/s, eta {duration(max(total - done, 0) / pace)}"


def size(n_bytes: float) -> str:
    """Return bytes in decimal units: 512 B, 4.1 kB, 31 MB or 1.2 GB."""
    value = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if value >= 9.95 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB" if value < 9.95 else f"{value:,.0f} TB"


def clock(at: float) -> str:
    """Return seconds since the epoch as a time of day in UTC: 14:03:59."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def day(at: float) -> str:
    """Return seconds since the epoch as a date in UTC: 2026-05-17."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def moment(at: float) -> str:
    """Return seconds since the epoch for machines, in UTC: 2026-05-17T14:03:59Z."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
