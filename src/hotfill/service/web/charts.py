"""Charts as inline SVG. Colours come from the style sheet, so they follow dark mode.

No styles inside: the content security policy forbids them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from hotfill.service.web.words import count, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.service.measures import Composition, Latency
    from hotfill.service.watch import Rates

WHAT = ("embedded", "written", "visible")


def coverage_bar(new_share: float) -> Markup:
    """Both sides as one bar; the new side grows from the left."""
    width = 100 * new_share
    return Markup(
        '<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" role="img" '
        'aria-label="{label}">'
        '<rect class="fill-old" width="100" height="4"/>'
        '<rect class="fill-new" width="{width}" height="4"/></svg>'
    ).format(label=f"{percent(new_share)} on the new side", width=f"{width:.2f}")


def rate_line(history: Sequence[Rates], what: str, most: float) -> Markup:
    """Items per second over the last minutes, as a line over its own ground.

    what: "embedded", "written" or "visible". most: the top of the scale; 0 draws the ground only.
    """
    points: list[str] = []
    if len(history) > 1 and most > 0:
        began, span = history[0].at, max(history[-1].at - history[0].at, 1.0)
        points = [
            f"{300 * (each.at - began) / span:.1f},{38 - 36 * getattr(each, what) / most:.1f}"
            for each in history
        ]
    joined = " ".join(points)
    area = Markup('<polygon class="area-{}" points="0,38 {} 300,38"/>').format(what, joined)
    return Markup(
        '<svg class="plot" viewBox="0 0 300 40" preserveAspectRatio="none" aria-hidden="true">'
        '<path class="grid" d="M0 38H300"/>{area}<polyline class="line-{what}" points="{points}"/>'
        "</svg>"
    ).format(area=area if points else "", what=what, points=joined)


def composition_plot(bins: Sequence[Composition]) -> Markup:
    """Share of hits from the new side against coverage; on the diagonal no side is favoured."""
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
        or "no searches over both sides yet"
    )
    return Markup(
        '<svg class="square" viewBox="0 0 290 280" role="img" '
        'aria-label="Share of hits from the new side: {said}">'
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


def latency_range(latency: Latency, most_seconds: float) -> Markup:
    """From the median to p99 as a bar with a mark at p95, on a common scale from 0."""

    def at(seconds: float) -> str:
        return f"{100 * seconds / most_seconds:.2f}"

    return Markup(
        '<svg class="range" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" y="4" width="100" height="2"/>'
        '<rect class="fill-new" x="{p50}" y="2" width="{width}" height="6"/>'
        '<rect class="mark" x="{p95}" y="0" width="0.8" height="10"/></svg>'
    ).format(
        p50=at(latency.p50_seconds),
        width=f"{100 * (latency.p99_seconds - latency.p50_seconds) / most_seconds:.2f}",
        p95=at(latency.p95_seconds),
    )
