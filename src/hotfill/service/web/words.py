"""Numbers and moments as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def count(number: float) -> str:
    """Say 1,204."""
    return f"{number:,.0f}"


def rate(per_second: float) -> str:
    """Say 412 or 3.2, items per second."""
    return f"{per_second:,.0f}" if per_second >= 10 or per_second == 0 else f"{per_second:.1f}"


def percent(share: float) -> str:
    """Say 41.3 %; never 100 % before all is done, nor 0 % once something is."""
    if 0 < share < 1:
        share = min(max(share, 0.001), 0.999)
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def milliseconds(seconds: float) -> str:
    """Say 0.43 or 12.1 or 240, milliseconds."""
    value = 1000 * seconds
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Say 12 s, 2 min 5 s, 1 h 4 min, 3 d 2 h."""
    whole = int(seconds)
    for unit, length, smaller, part in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // part} {smaller}"
    return f"{whole} s"


def clock(at: float) -> str:
    """Say 14:03:59, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def day(at: float) -> str:
    """Say 2024-05-17, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def moment(at: float) -> str:
    """Say it for machines: 2024-05-17T14:03:59Z."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
