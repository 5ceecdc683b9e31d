"""Turn results/mixed_quality.json into the tables of docs/benchmarks.md.

python benchmarks/mixed_quality/table.py                          # print them
python benchmarks/mixed_quality/table.py --into docs/benchmarks.md   # replace them there
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.mixed_quality.aims import by_pair, conclude, mean_gain
from benchmarks.mixed_quality.methods import LOGGED, METHODS
from benchmarks.mixed_quality.results import load
from benchmarks.mixed_quality.run import LOG, RESULTS
from benchmarks.page import line, main

Cells = list[dict[str, Any]]


def page(cells: Cells) -> str:
    """All that stands between the two marks."""
    return "\n\n".join([table(cells), note(cells), logged(cells), aims(cells)])


def table(cells: Cells) -> str:
    """One row per method and order, one column per pair: gain of map, mean and spread."""
    pairs = list(dict.fromkeys(cell["pair"] for cell in cells))
    heads = ["method", "order", *pairs, "mean gain", "lowest floor", "dips", "beyond noise"]
    lines = [line(heads), line(["---", "---", *["---:"] * (len(heads) - 2)])]
    for side in ("old", "new"):
        ends = [_ends(cells, pair, side) for pair in pairs]
        lines.append(line([f"{side} model's map", "", *ends, "", "", "", ""]))
    for method, one in METHODS.items():
        for order in one.orders:
            title = f"{method} | {order}"
            found = {
                pair: [
                    cell["methods"][title]
                    for cell in cells
                    if cell["pair"] == pair and title in cell["methods"]
                ]
                for pair in pairs
            }
            figures = [figure for some in found.values() for figure in some]
            if not figures:
                continue
            lines.append(
                line(
                    [
                        f"**{method}**" if one.ours else method,
                        order,
                        *(_spread([figure["gain"] for figure in some]) for some in found.values()),
                        f"{mean_gain(cells, title):.2f}",
                        f"{min(figure['floor'] for figure in figures):+.3f}",
                        f"{np.mean([figure['dips'] for figure in figures]):.1f}",
                        f"{np.mean([figure['dips_beyond_noise'] for figure in figures]):.1f}",
                    ]
                )
            )
    return "\n".join(lines)


def note(cells: Cells) -> str:
    """How to read the table."""
    seeds = len({cell["seed"] for cell in cells})
    return (
        f"Gain of map: mean ± standard deviation over {seeds} seeds; a figure without ± is of one "
        "seed, a dash was not measured or does not apply. hotfill's own in bold; the others are "
        "baselines and the methods of papers; those with (labels) saw the classes of the pairs. "
        "Mean gain over the pairs of that row; lowest floor over all pairs and seeds; dips per "
        "curve of ten steps. The oracle order looks at the new vectors before they exist."
    )


def logged(cells: Cells) -> str:
    """The default where some classes are asked for far more often, in four orders."""
    rows = [(order, by_pair(cells, f"{LOG} | {order}", "gain")) for order in LOGGED]
    pairs = list(rows[0][1])
    if not pairs:
        return ""
    lines = [
        "The default under a made-up query log (classes weighed 1 / rank, 2,000 queries drawn; "
        "what is measured is weighed alike):",
        "",
        line(["order", *pairs, "mean gain"]),
        line(["---", *["---:"] * (len(pairs) + 1)]),
    ]
    for order, found in rows:
        mean = np.mean([np.mean(found[pair]) for pair in pairs])
        lines.append(line([order, *(_spread(found[pair]) for pair in pairs), f"{mean:.2f}"]))
    return "\n".join(lines)


def aims(cells: Cells) -> str:
    """The aims of the run's last line."""
    lines = [line(["aim", "wanted", "measured", "met"]), line(["---", "---", "---:", "---"])]
    for name, aim in conclude(cells)["aims"].items():
        words = name.replace("_", " ")
        if "method" in aim:
            words += f" ({aim['method'].replace(' | ', ', ')})"
        met = "yes" if aim["met"] else "**no**"
        lines.append(line([words, aim["aim"], f"{aim['value']:.3g}", met]))
    return "\n".join(lines)


def _ends(cells: Cells, pair: str, side: str) -> str:
    return f"{np.mean([cell[side]['map'] for cell in cells if cell['pair'] == pair]):.3f}"


def _spread(gains: list[float]) -> str:
    if not gains:
        return "-"
    if len(gains) == 1:
        return f"{gains[0]:.2f}"
    return f"{np.mean(gains):.2f} ± {np.std(gains):.2f}"


if __name__ == "__main__":
    main("mixed_quality", lambda: page(load(RESULTS)), __doc__ or "")
