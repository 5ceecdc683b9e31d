"""A rehearsal for people: a table, a paragraph in plain words, a page with the picture."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hotfill.errors import InputError
from hotfill.extras import need
from hotfill.formatting import duration
from hotfill.ranking.one_space import rho_enough
from hotfill.rehearsal.budget import BUDGETS, K, cost_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from hotfill.rehearsal.budget import BudgetAnswer, BudgetPoint
    from hotfill.rehearsal.results import MeasuredCurve, Rehearsal


# Backfill curves as a picture: quality against the share of the gallery done ---------------------

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


def budget_picture(budget: BudgetAnswer, *, png: Path, svg: Path) -> None:
    """Draw quality against the share of items embedded, one line per order; write both files.

    Hours and prices, where they are known, stand below the shares. Needs matplotlib.
    """
    need("matplotlib", "plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    name = f"map@{K}"
    for number, curve in enumerate(budget.curves):
        axes.plot(
            [100 * point.budget for point in curve.points],
            [point.quality[name] for point in curve.points],
            color=COLOURS[number % len(COLOURS)],
            linestyle=STYLES[number % len(STYLES)],
            linewidth=3 if curve.order == budget.order else 1.8,
            marker="o",
            label=f"{curve.order} order" + (" *" if curve.order == budget.order else ""),
        )
    for model, value in (("old model", budget.old[name]), ("new model", budget.new[name])):
        axes.axhline(value, color="0.6", linewidth=1, zorder=0)
        axes.annotate(model, (100, value), xytext=(0, 3), textcoords="offset points", ha="right")
    if budget.knee:
        axes.axvline(100 * budget.knee, color="0.8", linestyle=":", zorder=0)
        axes.annotate("knee", (100 * budget.knee, 0), xycoords=("data", "axes fraction"))
    # Small budgets are told apart by the square root.
    axes.set_xscale("function", functions=(_root, _square))
    axes.set_xlim(0, 100)
    axes.set_xticks(
        [100 * share for share in BUDGETS], [_under(point) for point in budget.advised.points]
    )
    axes.set_xlabel("items embedded by the new model; the rest imputed")
    axes.set_ylabel(name)
    axes.legend(frameon=False, loc="center right")
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    figure.savefig(png, dpi=DOTS_PER_INCH)
    figure.savefig(svg, metadata={"Date": None})


def _root(values: Any) -> Any:
    return np.sqrt(np.maximum(values, 0))


def _square(values: Any) -> Any:
    return np.square(values)


def _under(point: BudgetPoint) -> str:
    parts = [f"{point.budget:.0%}"]
    parts += [] if point.hours is None else [duration(3600 * point.hours)]
    parts += [] if point.price is None else [f"{point.price:,.2f}"]
    return "\n".join(parts)


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


COLUMNS = (
    "way",
    "order",
    "map 0 %",
    "50 %",
    "100 %",
    "gain",
    "floor",
    "dips",
    "rewritten",
    "encodings",
    "fit",
)


def table(rehearsal: Rehearsal) -> Table:
    """Make a table for a terminal, one row per curve; the recommended one is bold."""
    from rich.table import Table

    made = Table(title=_title(rehearsal), caption="* recommended")
    for column in COLUMNS:
        words = column in COLUMNS[:2]
        justify: Literal["left", "right"] = "left" if words else "right"
        made.add_column(column, justify=justify, no_wrap=not words, overflow="fold")
    for curve in rehearsal.curves:
        style = "bold" if is_recommended(curve, rehearsal) else None
        made.add_row(*_row(curve, rehearsal), style=style)
    return made


BUDGET_COLUMNS = ("embedded", "cost", f"map@{K}", "hit rate@1", "way", "above old [95 %]", "flips")


def budget_table(budget: BudgetAnswer) -> Table:
    """Make a table of the advised order for a terminal, one row per budget."""
    from rich.table import Table

    made = Table(title=_budget_title(budget), caption=budget_caption(budget))
    for column in BUDGET_COLUMNS:
        made.add_column(column, justify="right", no_wrap=True)
    for row in _budget_rows(budget):
        made.add_row(*row)
    return made


def _budget_title(budget: BudgetAnswer) -> str:
    return f"Do I have to embed again? {budget.order} order"


def budget_caption(budget: BudgetAnswer) -> str:
    """Say what the table's ends are, and where it bends."""
    knee = "none" if budget.knee is None else f"{budget.knee:.0%}"
    old = budget.old
    return (
        f"First {K} hits served, {budget.ranking} ranking. Old model alone: map@{K} "
        f"{old[f'map@{K}']:.3f}, hit rate@1 {old['hit_rate@1']:.3f}. Knee: {knee}."
    )


def _budget_rows(budget: BudgetAnswer) -> list[tuple[str, ...]]:
    return [
        (
            f"{point.budget:.0%}",
            cost_of(point).strip(" ()") or "-",
            f"{point.quality[f'map@{K}']:.3f}",
            f"{point.quality['hit_rate@1']:.3f}",
            "-" if point.way is None else f"{point.way:.2f}",
            f"{point.above_old.value:+.3f} [{point.above_old.low:+.3f}, "
            f"{point.above_old.high:+.3f}]",
            f"{point.flips:.3f}",
        )
        for point in budget.advised.points
    ]


def must_embed(rehearsal: Rehearsal) -> str:
    """Answer whether anything has to be embedded again; "" where neither answer was measured."""
    parts = []
    if rehearsal.budget is not None:
        parts.append(f"Does everything have to be embedded again? {rehearsal.budget.advice}")
    found = rehearsal.criterion
    if found is not None:
        verdict = {
            True: "met: they are compatible without any map",
            False: "missed: they are not compatible",
            None: "neither met nor missed beyond chance",
        }[found.met]
        parts.append(
            f"New queries over the old gallery, as compatible models would be searched: map "
            f"{found.new_over_old.map:.3f} against {found.old.map:.3f} by old queries "
            f"({found.difference.value:+.3f}, 95 % interval {found.difference.low:+.3f} to "
            f"{found.difference.high:+.3f}); BCT's criterion is {verdict}. {found.flips:.1%} of "
            "the queries lose a right first hit."
        )
    return " ".join(parts)


def summary(rehearsal: Rehearsal) -> str:
    """Say in a paragraph what was measured and what follows."""
    truth = {
        "labels": "An item counted as relevant when it carries the query's label.",
        "judgements": "Relevance was taken from the judgements given.",
        "new model's top 10": (
            "There were no labels, so the new model's own first ten counted as relevant; that "
            "makes the new model look perfect and the old one worse than it is."
        ),
    }[rehearsal.truth]
    asked = f"{rehearsal.queries} queries"
    if rehearsal.queries_from_items:
        asked = f"{rehearsal.queries} contents of items, asked as queries,"
    if rehearsal.queries_given > rehearsal.queries + rehearsal.skipped:
        asked += f", drawn from {rehearsal.queries_given},"
    if rehearsal.skipped:
        asked += f" ({rehearsal.skipped} more had no relevant item)"
    known = "judgements" if rehearsal.truth == "judgements" else "labels"
    looked = "with" if rehearsal.recommendation.labels_used else "without looking at any"
    return (
        f"{asked} searched a gallery of {rehearsal.items} items while "
        f"it moved from the old model ({rehearsal.old_dimension} dimensions, map "
        f"{rehearsal.old.map:.3f}) to the new one ({rehearsal.new_dimension} dimensions, map "
        f"{rehearsal.new.map:.3f}). {truth} Everything was fitted on {rehearsal.fit_pairs} other "
        f"items, which are neither queries nor in the gallery. The recommendation was made "
        f"{looked} {known}. {rehearsal.recommendation.why}{_by_the_truth(rehearsal)}"
        f"{_ends(rehearsal)}{_threshold(rehearsal)}{_imputed(rehearsal)}"
    )


def _imputed(rehearsal: Rehearsal) -> str:
    """What the figures do not tell of items that stayed imputed."""
    if not rehearsal.imputed_items:
        return ""
    return (
        f" {rehearsal.imputed_items:,} items of the gallery are found by vectors that were imputed "
        "for the old model. All was fitted and measured on vectors that models made themselves: "
        "for those items the upgrade makes a map of a map, and until they are embedded they stand "
        "worse than the figures say."
    )


def _ends(rehearsal: Rehearsal) -> str:
    """What rho says, and how the two ends compare."""
    return "" if rehearsal.ends is None else f" {rehearsal.ends.text()}"


def _threshold(rehearsal: Rehearsal) -> str:
    """What becomes of a limit on the score."""
    carried = rehearsal.threshold
    if carried is None:
        return ""
    after = carried.stages[-1]
    counts = [stage.hits for stage in carried.stages]
    right = (
        f", of which {carried.before.precision:.0%} were relevant and {after.precision:.0%} will be"
        if carried.before.precision is not None and after.precision is not None
        else ""
    )
    return (
        f" Scores of {carried.old:g} and more: {carried.before.hits:,.1f} hits a query by the old "
        f"model; as many reach {carried.new:.4f} by the new one{right}. While the gallery is mixed "
        f"that limit lets {min(counts):,.1f} to {max(counts):,.1f} through. Put it in force for "
        "queries of the new model, which begin with the backfill."
    )


def _by_the_truth(rehearsal: Rehearsal) -> str:
    """What labels say about a recommendation that was made without them."""
    if rehearsal.recommendation.labels_used or rehearsal.truth == "new model's top 10":
        return ""
    better = rehearsal.new.map > rehearsal.old.map
    curve = rehearsal.recommended_curve()
    gain = "" if curve.gain is None or not better else f", and this way has gain {curve.gain:.2f}"
    return (
        f" By the {rehearsal.truth}, which played no part in this, the new model is "
        f"{'better' if better else 'not better'} (map {rehearsal.old.map:.3f} old, "
        f"{rehearsal.new.map:.3f} new){gain}."
    )


def settings(rehearsal: Rehearsal) -> str:
    """The recommended way as lines of a configuration file, or why there are none."""
    found = rehearsal.recommendation.to_toml()
    if found is None:
        name = rehearsal.recommended_curve().name
        return f"# {name} was measured for comparison; an upgrade does not offer it"
    chosen, ends = rehearsal.recommendation, rehearsal.ends
    imputes_alone = chosen.strategy == "prefill" and chosen.queries == "new"
    if imputes_alone and ends is not None and ends.rho < rho_enough(ends.by_items):
        found += (
            f"\n# `start` refuses at rho {ends.rho:.2f}. Add allow_below_old = true, or have the "
            'old model embed\n# queries, too: queries = "both" and ranking = "auto".'
        )
    return found


def check_place(folder: Path) -> None:
    """Raise InputError or MissingExtraError where `write_report` cannot write."""
    need("matplotlib", "plot")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder, found a file")


def write_report(rehearsal: Rehearsal, folder: str | Path) -> None:
    """Write index.html, curves.png, curves.svg and rehearsal.json into a folder.

    And budget.png and budget.svg, where budgets were measured.
    The folder is made where it is missing; files of these names are replaced. Needs matplotlib
    (extra `plot`).
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    curve_picture(rehearsal, png=target / "curves.png", svg=target / "curves.svg")
    if rehearsal.budget is not None:
        budget_picture(rehearsal.budget, png=target / "budget.png", svg=target / "budget.svg")
    (target / "rehearsal.json").write_text(rehearsal.to_json() + "\n", encoding="utf-8")
    (target / "index.html").write_text(_page(rehearsal), encoding="utf-8")


def _title(rehearsal: Rehearsal) -> str:
    recommendation = rehearsal.recommendation
    worth = "worth it" if recommendation.labels_used else "nothing speaks against it"
    return f"Rehearsal: {worth if recommendation.worth_it else 'not worth it'}"


def _row(curve: MeasuredCurve, rehearsal: Rehearsal) -> tuple[str, ...]:
    values = [point.quality.map for point in curve.points]
    half = min(curve.points, key=lambda point: abs(point.share - 0.5)).quality.map
    return (
        label(curve, rehearsal),
        curve.order,
        f"{values[0]:.3f}",
        f"{half:.3f}",
        f"{values[-1]:.3f}",
        "-" if curve.gain is None else f"{curve.gain:.2f}",
        f"{curve.floor:+.3f}",
        str(curve.dips),
        str(curve.vectors_rewritten),
        str(curve.query_encodings),
        f"{curve.fit_seconds:.1f} s",
    )


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;"
    "color:#222;background:#fff}table{border-collapse:collapse;font-size:.9rem}"
    "th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd}"
    "th:nth-child(-n+2),td:nth-child(-n+2){text-align:left}"
    "tr.recommended{font-weight:bold;background:#eef5fa}img{width:100%;height:auto}"
    "td{white-space:nowrap}div{overflow-x:auto}pre{background:#f4f4f4;padding:.7rem}"
)


def _page(rehearsal: Rehearsal) -> str:
    rows = "".join(
        _opening(is_recommended(curve, rehearsal))
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in _row(curve, rehearsal))
        + "</tr>\n"
        for curve in rehearsal.curves
    )
    heads = "".join(f"<th>{column}</th>" for column in COLUMNS)
    title = html.escape(_title(rehearsal))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{title}</h1>\n<p>{html.escape(summary(rehearsal))}</p>\n"
        '<img src="curves.svg" alt="Backfill curves: map against the share of the gallery done, '
        'one line per way; the figures stand in the table below.">\n'
        f"<div><table><thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table></div>\n"
        "<p>* recommended. Gain: share of the way from the old to the new model, averaged over the "
        "whole backfill; 0.5 is a straight line. Floor: lowest map minus the old model's. Dips: "
        "steps at which map falls. Rewritten: stored vectors changed before backfilling begins. "
        'Encodings: models that embed each query. All figures: <a href="rehearsal.json">'
        f"rehearsal.json</a>.</p>\n{_budget_section(rehearsal)}"
        "<p>The recommended way in a configuration file:</p>\n"
        f"<pre>{html.escape(settings(rehearsal))}</pre>\n</body></html>\n"
    )


def _budget_section(rehearsal: Rehearsal) -> str:
    """The answer, its picture and its table."""
    answer = must_embed(rehearsal)
    text = f"<p>{html.escape(answer)}</p>\n" if answer else ""
    if rehearsal.budget is None:
        return text
    heads = "".join(f"<th>{column}</th>" for column in BUDGET_COLUMNS)
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>\n"
        for row in _budget_rows(rehearsal.budget)
    )
    return (
        f"<h2>{html.escape(_budget_title(rehearsal.budget))}</h2>\n{text}"
        f'<img src="budget.svg" alt="map@{K} against the share of items embedded, one line per '
        'order; the figures stand in the table below.">\n'
        f"<div><table><thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table></div>\n"
        f"<p>{html.escape(budget_caption(rehearsal.budget))} Way: share of the way from the old "
        "model to the new one. Flips: queries whose first hit was right by the old model and is "
        "wrong now.</p>\n"
    )


def _opening(recommended: bool) -> str:
    return '<tr class="recommended">' if recommended else "<tr>"
