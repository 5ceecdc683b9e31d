"""What the demo leaves behind: a table on the terminal, a picture, a page, and report.json."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from demo.constants import K

if TYPE_CHECKING:
    from pathlib import Path

    from hotfill.metrics import BackfillCurve
    from hotfill.rehearsal.backfill_evaluation import Figures

Curves = tuple[dict[str, "BackfillCurve"], "Figures", "Figures"]

_TRAFFIC = (
    "searches",
    "failed_searches",
    "wrong_searches",
    "upserts",
    "edits",
    "deletes",
    "failed_writes",
    "broken_threads",
)
_NAMES = {
    "naive_merge": "naive merge",
    "calibrated_merge": "calibrated merge",
    "prefill": "prefill",
}
# Okabe and Ito's palette; the styles repeat the difference for print.
_LINES: dict[str, dict[str, Any]] = {
    "naive_merge": {"color": "#999999", "linestyle": ":"},
    "calibrated_merge": {"color": "#0072B2", "linestyle": "-"},
    "prefill": {"color": "#D55E00", "linestyle": "--"},
}
_BAD = (
    "lost",
    "duplicated",
    "left_over",
    "differing_from_direct_embedding",
    "failed_searches",
    "wrong_searches",
    "failed_writes",
    "broken_threads",
    "backfilling_unsearched",
)


def write_report(target: Path, folder: Path, outcome: dict[str, Any], curves: Curves) -> bool:
    """Write everything to `target` and print the table. Tells whether all went well."""
    tallies = [json.loads(path.read_text()) for path in sorted(folder.glob("tally-*.json"))]
    latencies = _latencies(tallies)
    report = {
        **outcome,
        **{name: sum(tally[name] for tally in tallies) for name in _TRAFFIC},
        "faults": [fault for tally in tallies for fault in tally["faults"]][:20],
        "latency_milliseconds": latencies,
        "backfilling_unsearched": "backfilling" not in latencies,
        **_figures(*curves),
    }
    (target / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    _draw(target, curves)
    _print(report)
    (target / "index.html").write_text(_page(report), encoding="utf-8")
    return not any(report[name] for name in _BAD)


def _latencies(tallies: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    phases = {phase for tally in tallies for phase in tally["latencies"]}
    found = {}
    for phase in sorted(phases):
        values = [ms for tally in tallies for ms in tally["latencies"].get(phase, [])]
        found[phase] = {
            "searches": len(values),
            "p50": round(float(np.percentile(values, 50)), 2),
            "p95": round(float(np.percentile(values, 95)), 2),
        }
    return found


def _figures(curves: dict[str, BackfillCurve], old: Figures, new: Figures) -> dict[str, Any]:
    return {
        "old": old.to_dict(),
        "new": new.to_dict(),
        "curves": {
            name: {
                "points": [
                    {"share": share, "map": value, "flips": flips}
                    for share, value, flips in zip(
                        curve.shares, curve.values, curve.flips, strict=True
                    )
                ],
                "auc": curve.auc,
                "gain": curve.gain,
                "floor": curve.floor,
                "dips": curve.dips,
            }
            for name, curve in curves.items()
        },
    }


def _draw(target: Path, curves: Curves) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines, old, new = curves
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for level, name in ((old.map, "old model"), (new.map, "new model")):
        axes.axhline(level, color="#444444", linewidth=0.8, linestyle=":")
        axes.text(1.01, level, name, va="center", fontsize=9, color="#444444")
    for name, curve in lines.items():
        label = f"{_NAMES[name]}: gain {curve.gain:.2f}"
        axes.plot(curve.shares, curve.values, label=label, linewidth=2, **_LINES[name])
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.02, 0.92))
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_xlabel("share of the gallery embedded by the new model")
    axes.set_ylabel("mAP over the full ranking")
    axes.set_title("Quality while a gallery of Omniglot drawings is upgraded", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    for ending in ("png", "svg"):
        figure.savefig(target / f"curves.{ending}", dpi=150)
    pyplot.close(figure)


def _rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The table's rows, for the terminal and for the page."""
    old, new = report["old"], report["new"]
    latency = report["latency_milliseconds"]
    return [
        ("items, coverage", f"{report['items']:,}, {report['coverage']:.0%} by the new model"),
        (
            "map, hit_rate@1",
            f"{old['map']:.3f}, {old['hit_rate@1']:.3f} before; "
            f"{new['map']:.3f}, {new['hit_rate@1']:.3f} after",
        ),
        *(
            (
                f"gain of {_NAMES[name]}",
                f"{curve['gain']:.2f}, floor {curve['floor']:+.3f}, dips {curve['dips']}",
            )
            for name, curve in report["curves"].items()
        ),
        (
            f"searches (top {K}, each checked)",
            f"{report['searches']:,}, failed {report['failed_searches']}, "
            f"wrong {report['wrong_searches']}",
        ),
        (
            "live writes",
            f"{report['upserts']} new, {report['edits']} edited, {report['deletes']} deleted, "
            f"failed {report['failed_writes']}",
        ),
        *(
            (
                f"{each['searches']:,} searches, {phase}",
                f"p50 {each['p50']:.1f} ms, p95 {each['p95']:.1f} ms",
            )
            for phase, each in latency.items()
        ),
        ("kills (SIGKILL)", str(report["kills"])),
        (
            "lost, duplicated, left over",
            f"{report['lost']}, {report['duplicated']}, {report['left_over']}",
        ),
        (
            "differing from direct embedding",
            str(report["differing_from_direct_embedding"]),
        ),
        ("time", f"{report['seconds']:.0f} s"),
    ]


def _print(report: dict[str, Any]) -> None:
    table = Table(title="A live gallery, upgraded", title_justify="left", show_header=False)
    for name, value in _rows(report):
        table.add_row(name, value)
    Console().print(table)
    for fault in report["faults"]:
        Console(stderr=True).print(f"[red]fault:[/] {fault}")


def _page(report: dict[str, Any]) -> str:
    rows = "\n".join(
        f"<tr><th scope=row>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in _rows(report)
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>hotfill demo</title>
<style>
 :root {{ color-scheme: light dark }}
 body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto }}
 body {{ padding: 0 1rem }}
 img {{ width: 100%; background: white }} table {{ border-collapse: collapse }}
 th, td {{ text-align: left; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid #8884 }}
 th {{ font-weight: 500 }}
</style>
<h1>A live gallery, upgraded</h1>
<p>Drawings of characters that neither model was trained on. The gallery was searched and written
to all the time; its process was killed once in the middle, and the same command went on.</p>
<img src="curves.svg" alt="Backfill curves: mAP against the share of the gallery done">
<table>{rows}</table>
<p>All figures: <a href="report.json">report.json</a>. Remake it: <code>make demo</code>.</p>
</html>
"""
