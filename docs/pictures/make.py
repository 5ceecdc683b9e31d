"""Draws the pictures of the pages: `python docs/pictures/make.py`. A test compares.

Plain SVG with a ground of its own, so that it is readable in a light and in a dark page.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
OLD, NEW, INK, SOFT, EDGE, GOOD, BAD = (
    "#8b96a3", "#2470c8", "#1a2129", "#5a6673", "#dfe3e8", "#127a5f", "#b3312c",
)  # fmt: skip


def pictures() -> dict[str, str]:
    """Return every picture by its file name."""
    return {
        "sides.svg": sides(),
        "phases.svg": phases(),
        "backfill-curve.svg": backfill_curve(),
        "crash.svg": crash(),
    }


def svg(width: int, height: int, label: str, *parts: str) -> str:
    """Frame parts as a picture."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(label)}" font-family="system-ui, sans-serif" font-size="14">',
        f'<rect width="{width}" height="{height}" rx="10" fill="#fff"/>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def text(
    x: float, y: float, words: str, colour: str = INK, anchor: str = "start", **more: str
) -> str:
    """Write words; y is their base line."""
    rest = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{colour}" text-anchor="{anchor}"{rest}>'
        f"{escape(words)}</text>"
    )


def box(x: float, y: float, width: float, height: float, colour: str, fill: str = "none") -> str:
    """Draw a rounded box."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7" '
        f'stroke="{colour}" stroke-width="1.5" fill="{fill}"/>'
    )


def arrow(x1: float, y1: float, x2: float, y2: float, colour: str = SOFT) -> str:
    """Draw an arrow with its head at the second point; straight across or down."""
    if y1 == y2:
        side = -7 if x2 > x1 else 7
        head = f"M{x2:g} {y2:g}l{side} -4.5v9z"
    else:
        side = -7 if y2 > y1 else 7
        head = f"M{x2:g} {y2:g}l-4.5 {side}h9z"
    return (
        f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" stroke="{colour}" stroke-width="1.5" fill="none"/>'
        f'<path d="{head}" fill="{colour}"/>'
    )


def sides() -> str:
    """One query, two sides, one ranking."""
    parts = [
        box(20, 85, 120, 50, INK),
        text(80, 107, "query", anchor="middle", font_weight="600"),
        text(80, 125, "embedded once", SOFT, "middle", font_size="12"),
        '<path d="M140 110H175M175 55V165" stroke="#5a6673" stroke-width="1.5" fill="none"/>',
        arrow(175, 55, 215, 55),
        arrow(175, 165, 215, 165),
        box(215, 30, 130, 50, OLD),
        text(280, 52, "mapped to", anchor="middle"),
        text(280, 70, "the old space", anchor="middle"),
        box(215, 140, 130, 50, NEW),
        text(280, 170, "as it is", anchor="middle"),
        arrow(345, 55, 385, 55),
        arrow(345, 165, 385, 165),
    ]
    for top, colour, name, count in ((20, OLD, "old side", 7), (130, NEW, "new side", 5)):
        parts.append(box(385, top, 150, 70, colour))
        parts.append(text(460, top + 22, name, anchor="middle", font_weight="600"))
        parts += [
            f'<circle cx="{460 + 17 * (i - (count - 1) / 2):g}" cy="{top + 46}" r="6" '
            f'fill="{colour}"/>'
            for i in range(count)
        ]
    parts += [
        '<path d="M535 55H560V165H535" stroke="#5a6673" stroke-width="1.5" fill="none"/>',
        box(575, 85, 110, 50, INK),
        arrow(560, 110, 575, 110),
        text(630, 107, "comparable", anchor="middle"),
        text(630, 125, "scores", anchor="middle"),
        arrow(685, 110, 715, 110),
        box(715, 40, 90, 140, INK),
        text(760, 60, "top k", anchor="middle", font_weight="600"),
    ]
    for row, colour in enumerate((NEW, OLD, NEW, NEW, OLD)):
        parts.append(
            f'<rect x="730" y="{72 + 20 * row}" width="{60 - 7 * row}" height="12" rx="3" '
            f'fill="{colour}"/>'
        )
    return svg(825, 215, "One query is searched on both sides and gives one ranking", *parts)


def phases() -> str:
    """The phases and the ways between them."""
    names = ("planned", "prepared", "backfilling", "backfilled", "cut over", "completed")
    steps = ("start", "", "", "cutover", "complete")
    parts = []
    for i, name in enumerate(names):
        x = 15 + 138 * i
        parts.append(box(x, 40, 108, 42, NEW if i else SOFT, "#eef4fb" if i else "#f5f6f8"))
        parts.append(text(x + 54, 66, name, anchor="middle", font_weight="600"))
        if i < len(steps):
            parts.append(arrow(x + 108, 61, x + 138, 61))
            parts.append(text(x + 123, 30, steps[i], SOFT, "middle", font_size="12"))
    for left, first, second, starts, step in (
        (153, "aborting", "aborted", (207, 345, 483), "abort"),
        (567, "rolling back", "rolled back", (621,), "rollback"),
    ):
        for x in starts:
            parts.append(f'<path d="M{x} 82V112" stroke="{BAD}" stroke-width="1.5"/>')
        parts.append(
            f'<path d="M{min(starts)} 112H{max(starts)}" stroke="{BAD}" stroke-width="1.5"/>'
        )
        parts.append(arrow(left + 54, 112, left + 54, 140, BAD))
        parts.append(text(left + 64, 131, step, SOFT, font_size="12"))
        for i, name in enumerate((first, second)):
            parts.append(box(left + 138 * i, 140, 108, 42, BAD, "#fdf3f2"))
            parts.append(text(left + 138 * i + 54, 166, name, anchor="middle", font_weight="600"))
        parts.append(arrow(left + 108, 161, left + 138, 161, BAD))
    label = "Forward from planned to completed; back by abort before the cutover, rollback after it"
    return svg(830, 200, label, *parts)


def backfill_curve() -> str:
    """Quality against the share done, measured on Omniglot."""
    found = json.loads((HERE / "omniglot_curves.json").read_text(encoding="utf-8"))
    old, new = found["old"], found["new"]
    low, high, left, top, width, height = 0.30, 0.72, 70, 30, 470, 270

    def place(share: float, value: float) -> str:
        return f"{left + width * share:.1f},{top + height * (high - value) / (high - low):.1f}"

    parts = []
    for value in (0.3, 0.4, 0.5, 0.6, 0.7):
        x, y = place(0, value).split(",")
        parts.append(f'<path d="M{x} {y}h{width}" stroke="{EDGE}"/>')
        parts.append(text(left - 8, float(y) + 5, f"{value:.1f}", SOFT, "end", font_size="12"))
    for share in (0, 0.5, 1):
        x = left + width * share
        parts.append(
            text(x, top + height + 20, f"{100 * share:.0f} %", SOFT, "middle", font_size="12")
        )
    parts.append(
        text(
            left + width / 2, top + height + 40, "share of the items embedded again", SOFT, "middle"
        )
    )
    parts.append(text(18, top - 10, "mean average precision", SOFT, font_size="12"))
    today = [place(0, old), place(1, old), place(1, new)]
    drawn = [("today: old until all is done", today, SOFT, "6 5")]
    colours = {
        "naive merge of two lists": ("#b3312c", "2 4"),
        "reciprocal rank fusion": ("#96610b", "2 4"),
        "prefill": (GOOD, ""),
        "merge, random order": ("#7fb0e6", ""),
        "merge, most uncertain first": (NEW, ""),
    }
    for name, (colour, dashes) in colours.items():
        values = found["curves"][name]
        points = [place(i / (len(values) - 1), value) for i, value in enumerate(values)]
        drawn.append((name, points, colour, dashes))
    for row, (name, points, colour, dashes) in enumerate(reversed(drawn)):
        stroke = f'stroke="{colour}" stroke-width="2.5" fill="none" stroke-linejoin="round"'
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(f'<polyline points="{" ".join(points)}" {stroke}{dash}/>')
        y = top + 30 + 30 * row
        parts.append(f'<path d="M565 {y - 5}h28" {stroke}{dash}/>')
        parts.append(text(602, y, name))
    label = f"Backfill curves on Omniglot: from {old:.2f} to {new:.2f}; merge rises at once"
    return svg(830, 360, label, *parts)


def crash() -> str:
    """Why a kill between any two steps is harmless."""
    steps = (
        ("lease a batch", "journal"),
        ("read contents, embed", "source, model"),
        ("move: swap the vectors", "store, atomic per item"),
        ("note it as done", "journal"),
    )
    parts = []
    for i, (what, where) in enumerate(steps):
        x = 15 + 203 * i
        parts.append(box(x, 30, 178, 62, NEW, "#eef4fb"))
        parts.append(text(x + 89, 57, what, anchor="middle", font_size="12", font_weight="600"))
        parts.append(text(x + 89, 78, where, SOFT, "middle", font_size="12"))
        if i < 3:
            parts.append(arrow(x + 178, 61, x + 203, 61))
            parts.append(arrow(x + 190, 128, x + 190, 70, BAD))
    for x, words in (
        (205, "killed here: the lease runs out,"),
        (408, "killed here: the vectors are lost,"),
        (611, "killed here: the batch runs again;"),
    ):
        parts.append(text(x, 146, words, BAD, "middle", font_size="12"))
    for x, words in (
        (205, "another takes the batch"),
        (408, "the batch is embedded again"),
        (611, "its items have moved: left alone"),
    ):
        parts.append(text(x, 163, words, SOFT, "middle", font_size="12"))
    label = (
        "A batch is leased, embedded, moved, noted; a kill between any two steps repeats the batch"
    )
    return svg(830, 180, label, *parts)


if __name__ == "__main__":
    for name, drawn in pictures().items():
        (HERE / name).write_text(drawn, encoding="utf-8")
