"""Backfill curves as a picture: quality against the share of the gallery done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotfill.extras import need

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hotfill.rehearsal.rehearsal import MeasuredCurve, Rehearsal

# Okabe and Ito's palette, told apart by every common form of colour blindness, darkest first;
# line styles repeat the difference for print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
WIDTH_INCHES, HEIGHT_INCHES, DOTS_PER_INCH = 9.0, 5.0, 150
LABEL_GAP = 0.045  # of the height of the plot, between two labels at least


def curve_picture(rehearsal: Rehearsal, *, png: Path, svg: Path) -> None:
    """Draw one line per strategy, in the recommended order, and write both files.

    The old and the new system are the grey lines. Needs matplotlib (extra `plot`).
    """
    need("matplotlib", "plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shown = shown_curves(rehearsal)
    for number, curve in enumerate(shown):
        axes.plot(
            [100 * point.share for point in curve.points],
            [point.quality.map for point in curve.points],
            color=COLOURS[number % len(COLOURS)],
            linestyle=STYLES[(number + number // len(COLOURS)) % len(STYLES)],
            linewidth=3 if is_recommended(curve, rehearsal) else 1.8,
        )
    for value in (rehearsal.old.map, rehearsal.new.map):
        axes.axhline(value, color="0.6", linewidth=1, zorder=0)
    # Curves that start together are labelled in the order in which they go on.
    ends = [
        (curve.points[0].quality.map + 1e-6 * curve.auc, label(curve, rehearsal)) for curve in shown
    ]
    ends += [(rehearsal.old.map, "old model"), (rehearsal.new.map, "new model")]
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(shown))] + ["0.4", "0.4"]
    low, high = axes.get_ylim()
    heights = spread([value for value, _ in ends], LABEL_GAP * (high - low))
    for (value, text), height, colour in zip(ends, heights, colours, strict=True):
        axes.annotate(
            text,
            xy=(0, value),
            xytext=(-3, height),
            color=colour,
            ha="right",
            va="center",
            fontsize=9,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "relpos": (1, 0.5)},
        )
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_xlim(0, 100)
    axes.set_xlabel("gallery done (%)")
    axes.set_ylabel("map")
    axes.set_title(f"Quality while the gallery is upgraded (relevant: {rehearsal.truth})")
    for side in ("top", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    figure.savefig(png, dpi=DOTS_PER_INCH)
    figure.savefig(svg, metadata={"Date": None})


def shown_curves(rehearsal: Rehearsal) -> list[MeasuredCurve]:
    """Take the curves of the recommended order, the recommended one first.

    Pictures of all orders would be a thicket.
    """
    shown = [curve for curve in rehearsal.curves if curve.order == rehearsal.recommendation.order]
    return sorted(shown, key=lambda curve: not is_recommended(curve, rehearsal))


def is_recommended(curve: MeasuredCurve, rehearsal: Rehearsal) -> bool:
    """Tell whether a curve is the one recommended."""
    return curve == rehearsal.recommended_curve()


def label(curve: MeasuredCurve, rehearsal: Rehearsal) -> str:
    """Name a curve, with a star where it is recommended."""
    return f"{curve.name} *" if is_recommended(curve, rehearsal) else curve.name


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Move values apart until neighbours are at least a gap apart; keeps their order."""
    order = sorted(range(len(values)), key=lambda row: values[row])
    placed = [values[row] for row in order]
    for _ in range(100):
        moved = False
        for lower in range(len(placed) - 1):
            lack = gap - (placed[lower + 1] - placed[lower])
            if lack > 1e-9 * gap:
                placed[lower] -= lack / 2
                placed[lower + 1] += lack / 2
                moved = True
        if not moved:
            break
    heights = [0.0] * len(values)
    for row, height in zip(order, placed, strict=True):
        heights[row] = height
    return heights
