"""Quality while the gallery is mixed: what the canaries showed, and what was rehearsed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from hotfill.service.web.words import percent
from hotfill.upgrade.view import OLD_ONLY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.service.rehearsed import Rehearsed
    from hotfill.service.watch import Snapshot
    from hotfill.upgrade.journal.base import Fact

_WORDS = {
    "agreement": "Agreement with the new model",
    "old_overlap": "Overlap with the old model's hits",
    "first_kept": "Old first hit still found",
    "flips": "Answers lost",
}
_AT_MOST = frozenset({"flips"})  # the others must be at least what is required
_LEFT, _TOP, _WIDTH, _HEIGHT = 40, 10, 400, 150


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the canaries. required: by the gate, None where it asks nothing of it."""

    name: str
    words: str
    value: float
    required: float | None
    sign: str
    accepted: bool


def figures(seen: Snapshot) -> list[Figure]:
    """List what the newest measurement found; nothing before the first."""
    if not seen.quality:
        return []
    status, newest = seen.status, seen.quality[-1].body
    return [
        Figure(
            name,
            said,
            float(newest[name]),
            status.gate.get(name),
            "\N{LESS-THAN OR EQUAL TO}" if name in _AT_MOST else "\N{GREATER-THAN OR EQUAL TO}",
            name in status.gate_accepted,
        )
        for name, said in _WORDS.items()
        if newest[name] is not None
    ]


def canary_plot(quality: Sequence[Fact]) -> Markup:
    """Draw every figure of the canaries against the coverage, both from 0 to 1."""
    lines = [
        _line(
            f"line-{name}",
            [(f.body["coverage"], f.body[name]) for f in quality if f.body[name] is not None],
            0.0,
            1.0,
        )
        for name in _WORDS
    ]
    newest = quality[-1].body if quality else {}
    said = "; ".join(
        f"{said} {newest[name]:.2f}"
        for name, said in _WORDS.items()
        if newest.get(name) is not None
    )
    return _framed(f"Canaries: {said}", lines, ("1", "0.5", "0"))


def expected_now(rehearsed: Rehearsed, seen: Snapshot) -> float:
    """Say what was rehearsed for this moment: of the old model alone while only it searches."""
    if seen.status.phase in OLD_ONLY:
        return rehearsed.old
    return rehearsed.expected(seen.coverage)


def rehearsed_plot(rehearsed: Rehearsed, seen: Snapshot) -> Markup:
    """Draw the rehearsed curve between both models, and mark where the upgrade is."""
    values = [rehearsed.old, rehearsed.new, *(value for _, value in rehearsed.points)]
    low, high = min(values), max(values)
    margin = 0.12 * (high - low) or 0.5
    low, high = low - margin, high + margin
    expected = expected_now(rehearsed, seen)
    x, y = _place(seen.coverage, expected, low, high)
    parts = [
        _level("old model", rehearsed.old, low, high),
        _level("new model", rehearsed.new, low, high),
        _line("line-rehearsed", rehearsed.points, low, high),
        Markup('<circle class="dot" cx="{}" cy="{}" r="6"/>').format(f"{x:.1f}", f"{y:.1f}"),
    ]
    label = (
        f"Rehearsed: from {rehearsed.old:.3f} to {rehearsed.new:.3f}; at "
        f"{percent(seen.coverage)} coverage {expected:.3f} is expected"
    )
    return _framed(label, parts, (f"{high:.2f}", f"{(low + high) / 2:.2f}", f"{low:.2f}"))


def _place(share: float, value: float, low: float, high: float) -> tuple[float, float]:
    return _LEFT + _WIDTH * share, _TOP + _HEIGHT * (high - value) / (high - low)


def _line(kind: str, points: Sequence[tuple[float, float]], low: float, high: float) -> Markup:
    places = [_place(share, value, low, high) for share, value in points]
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return Markup('<polyline class="{}" points="{}"/>').format(kind, joined)


def _level(name: str, value: float, low: float, high: float) -> Markup:
    """Draw a dashed line across, with a name above it."""
    x, y = _place(0.0, value, low, high)
    return Markup(
        '<polyline class="line-level" points="{},{} {},{}"/>'
        '<g class="axis" aria-hidden="true"><text x="{}" y="{}">{}</text></g>'
    ).format(x, f"{y:.1f}", x + _WIDTH, f"{y:.1f}", x + 4, f"{y - 5:.1f}", name)


def _framed(label: str, parts: Sequence[Markup], scale: tuple[str, str, str]) -> Markup:
    """Draw lines over a grid. scale: what stands at the top, the middle and the bottom."""
    right, bottom, middle = _LEFT + _WIDTH, _TOP + _HEIGHT, _TOP + _HEIGHT // 2
    across = Markup("").join(
        Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(x, bottom + 18, end, text)
        for x, end, text in (
            (_LEFT, "middle", "0"),
            (_LEFT + _WIDTH // 2, "middle", "50"),
            (right, "end", "100 %"),
        )
    )
    up = Markup("").join(
        Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(_LEFT - 6, y + 4, text)
        for y, text in zip((_TOP, middle, bottom), scale, strict=True)
    )
    return Markup(
        '<svg class="curve" viewBox="0 0 450 185" role="img" aria-label="{}">'
        '<path class="grid" d="M{} {}H{}M{} {}H{}M{} {}H{}"/>{}'
        '<g class="axis" aria-hidden="true">{}{}</g></svg>'
    ).format(
        label,
        *(_LEFT, _TOP, right, _LEFT, middle, right, _LEFT, bottom, right),
        Markup("").join(parts),
        across,
        up,
    )
