"""Charts as inline SVG. Colours come from the style sheet, so they follow dark mode.

No styles inside: the content security policy forbids them.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, floor
from statistics import median
from typing import TYPE_CHECKING

from markupsafe import Markup

from hotfill.formatting import count, percent
from hotfill.service.web.quality import CANARY_WORDS, expected_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hotfill.service.measures import Composition, RecentLatency
    from hotfill.service.snapshot import Point, Rates, UpgradeSnapshot
    from hotfill.service.web.quality import Rehearsed
    from hotfill.upgrade.journal.base import Fact

_LEFT, _TOP, _WIDTH, _HEIGHT = 40, 10, 400, 150  # of a curve, in units of its drawing

WHAT = ("embedded", "written", "visible")


def coverage_bar(seen: UpgradeSnapshot) -> Markup:
    """All items as one bar; those with the new model's own vector grow from the left."""
    own = seen.coverage
    total = seen.old_items + seen.imputed_items + seen.new_items
    on_new_side = own + seen.imputed_items / total if total else 0.0
    label = f"{percent(own)} re-embedded"
    if seen.imputed_items:
        label += f", {percent(on_new_side - own)} imputed"
    return Markup(
        '<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" role="img" '
        'aria-label="{label}">'
        '<rect class="fill-old" width="100" height="4"/>'
        '<rect class="fill-imputed" width="{on_new_side}" height="4"/>'
        '<rect class="fill-new" width="{own}" height="4"/></svg>'
    ).format(label=label, on_new_side=f"{100 * on_new_side:.2f}", own=f"{100 * own:.2f}")


def rate_line(history: Sequence[Rates], what: str, most: float) -> Markup:
    """Items per second over time, as a line over its own ground; broken where nobody looked.

    what: "embedded", "written" or "visible". most: the top of the scale; 0 draws the ground only.
    """
    lines, areas = [], []
    for run in _runs(history, history) if most > 0 else []:
        points = [(x, 38 - 36 * getattr(each, what) / most) for x, each in run]
        lines.append(_polyline(f"line-{what}", points))
        ends = ((points[0][0], 38.0), *points, (points[-1][0], 38.0))
        areas.append(Markup('<polygon class="area-{}" points="{}"/>').format(what, _joined(ends)))
    return Markup(
        '<svg class="plot" viewBox="0 0 300 40" preserveAspectRatio="none" aria-hidden="true">'
        '<path class="grid" d="M0 38H300"/>{}{}</svg>'
    ).format(Markup("").join(areas), Markup("").join(lines))


def composition_plot(bins: Sequence[Composition]) -> Markup:
    """Share of hits by new vectors against coverage; on the diagonal no model is favoured."""
    largest = max((each.hits for each in bins), default=1)
    dots = Markup("").join(
        Markup(
            '<circle class="dot" cx="{x}" cy="{y}" r="{r}"><title>{title}</title></circle>'
        ).format(
            x=f"{40 + 240 * each.coverage:.1f}",
            y=f"{250 - 240 * each.new_share:.1f}",
            r=f"{3 + 4 * (each.hits / largest) ** 0.5:.1f}",
            title=f"at {percent(each.coverage)} coverage: {percent(each.new_share)} of "
            f"{count(each.hits)} hits",
        )
        for each in bins
    )
    said = (
        "; ".join(
            f"at {percent(each.coverage)} coverage {percent(each.new_share)}" for each in bins[-3:]
        )
        or "no searches of a mixed gallery yet"
    )
    return Markup(
        '<svg class="square" viewBox="0 0 290 280" role="img" '
        'aria-label="Share of hits by the new model: {said}">'
        '<path class="grid" d="M40 10H280M40 130H280M40 250H280M40 10V250M160 10V250M280 10V250"/>'
        '<path class="even" d="M40 250L280 10"/>{dots}'
        '<g class="axis" aria-hidden="true">'
        '<text x="34" y="14" text-anchor="end">100</text>'
        '<text x="34" y="134" text-anchor="end">50</text>'
        '<text x="34" y="254" text-anchor="end">0</text>'
        '<text x="40" y="270" text-anchor="middle">0</text>'
        '<text x="160" y="270" text-anchor="middle">50</text>'
        '<text x="280" y="270" text-anchor="end">100</text></g></svg>'
    ).format(said=said, dots=dots)


def canary_plot(quality: Sequence[Fact]) -> Markup:
    """Draw every figure of the canaries against the coverage, both from 0 to 1."""
    lines = [
        _line(
            f"line-{name}",
            [(f.body["coverage"], f.body[name]) for f in quality if f.body[name] is not None],
            0.0,
            1.0,
        )
        for name in CANARY_WORDS
    ]
    newest = quality[-1].body if quality else {}
    said = "; ".join(
        f"{said} {newest[name]:.2f}"
        for name, said in CANARY_WORDS.items()
        if newest.get(name) is not None
    )
    return _framed(f"Canaries: {said}", lines, ("1", "0.5", "0"))


def rehearsed_plot(rehearsed: Rehearsed, seen: UpgradeSnapshot) -> Markup:
    """Draw the rehearsed curve between both models, and mark where the upgrade is."""
    values = [rehearsed.old, rehearsed.new, *(value for _, value in rehearsed.points)]
    low, high = _scale(min(values), max(values))
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


def _scale(low: float, high: float) -> tuple[float, float]:
    """Widen a range, within 0 to 1, to round ends whose middle is round as well."""
    step = next((each for each in (0.02, 0.1, 0.2) if high - low <= 4 * each), 0.5)
    bottom, top = floor(low / step + 1e-6) * step, ceil(high / step - 1e-6) * step
    return max(bottom, 0.0), min(max(top, bottom + step), 1.0)


def latency_lines(
    history: Sequence[RecentLatency], limits: Sequence[float], time: Sequence[Rates]
) -> Markup:
    """Median and p99 of the last minute's searches over time, with the limits as dashed lines.

    limits: in seconds, of whichever percentiles. time: whose first and last moment are the ends of
    the scale; where it is empty, those of the history are.
    """
    most = max([*(each.p99_seconds for each in history), *limits])

    def height(seconds: float) -> float:
        return 78 - 74 * seconds / most

    lines = Markup("").join(
        _polyline(f"line-{name}", [(x, height(getattr(s, f"{name}_seconds"))) for x, s in run])
        for name in ("p50", "p99")
        for run in _runs(history, time or history)
    )
    levels = Markup("").join(
        Markup('<path class="limit" d="M0 {:.1f}H300"/>').format(height(each)) for each in limits
    )
    return Markup(
        '<svg class="plot tall" viewBox="0 0 300 80" preserveAspectRatio="none" '
        'aria-hidden="true"><path class="grid" d="M0 78H300"/>{}{}</svg>'
    ).format(levels, lines)


def _runs(
    history: Sequence[Point], time: Sequence[Rates] | Sequence[RecentLatency]
) -> list[list[tuple[float, Point]]]:
    """Cut a history where it has gaps, and place its points across a width of 300.

    A gap is over a minute long, and four times as long as what lies between two points elsewhere.
    """
    if len(history) < 2:
        return []
    steps = [after.at - before.at for before, after in pairwise(history)]
    gap = max(60.0, 4 * median(steps))
    began, span = time[0].at, max(time[-1].at - time[0].at, 1.0)
    runs: list[list[tuple[float, Point]]] = [[]]
    for step, each in zip([0.0, *steps], history, strict=True):
        if step > gap:
            runs.append([])
        runs[-1].append((300 * (each.at - began) / span, each))
    return runs


def _joined(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _polyline(kind: str, points: Iterable[tuple[float, float]]) -> Markup:
    return Markup('<polyline class="{}" points="{}"/>').format(kind, _joined(points))


def _place(share: float, value: float, low: float, high: float) -> tuple[float, float]:
    return _LEFT + _WIDTH * share, _TOP + _HEIGHT * (high - value) / (high - low)


def _line(kind: str, points: Sequence[tuple[float, float]], low: float, high: float) -> Markup:
    places = [_place(share, value, low, high) for share, value in points]
    if len(places) == 1:  # a line of one point would not be seen
        ((x, y),) = places
        dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(kind, x, y)
        return _polyline(kind, places) + dot
    return _polyline(kind, places)


def _level(name: str, value: float, low: float, high: float) -> Markup:
    """Draw a dashed line across, with a name above it; below it at the top of the frame."""
    x, y = _place(0.0, value, low, high)
    name_at = y - 5 if y > _TOP + 14 else y + 14
    return Markup(
        '<polyline class="line-level" points="{},{} {},{}"/>'
        '<g class="axis" aria-hidden="true"><text x="{}" y="{}">{}</text></g>'
    ).format(x, f"{y:.1f}", x + _WIDTH, f"{y:.1f}", x + 4, f"{name_at:.1f}", name)


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
