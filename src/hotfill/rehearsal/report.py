"""A rehearsal for people: a table, a paragraph in plain words, a page with the picture."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hotfill.rehearsal.picture import curve_picture, is_recommended, label
from hotfill.rehearsal.upgrade_settings import upgrade_settings

if TYPE_CHECKING:
    from rich.table import Table

    from hotfill.rehearsal.rehearsal import MeasuredCurve, Rehearsal

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
        f"{_threshold(rehearsal)}"
    )


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
    found = upgrade_settings(rehearsal.recommendation)
    if found is None:
        name = rehearsal.recommended_curve().name
        return f"# {name} was measured for comparison; an upgrade does not offer it"
    return found


def write_report(rehearsal: Rehearsal, folder: str | Path) -> None:
    """Write index.html, curves.png, curves.svg and rehearsal.json into a folder.

    The folder is made where it is missing; files of these names are replaced. Needs matplotlib
    (extra `plot`).
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    curve_picture(rehearsal, png=target / "curves.png", svg=target / "curves.svg")
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
        "rehearsal.json</a>.</p>\n<p>The recommended way in a configuration file:</p>\n"
        f"<pre>{html.escape(settings(rehearsal))}</pre>\n</body></html>\n"
    )


def _opening(recommended: bool) -> str:
    return '<tr class="recommended">' if recommended else "<tr>"
