"""Turn results/mixed_toy.json into the table of docs/benchmarks.md.

python benchmarks/mixed_toy/table.py                          # print it
python benchmarks/mixed_toy/table.py --into docs/benchmarks.md   # replace it there
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.mixed_toy.noted import expected
from benchmarks.page import line, main

RESULTS = Path(__file__).parent / "results" / "mixed_toy.json"
COLUMNS = (
    ("synthetic", "normalised"),
    ("synthetic", "raw l2"),
    ("synthetic", "raw l2, old x0.5"),
    ("synthetic", "raw l2, old x2"),
    ("digits", "normalised"),
)

Cells = list[dict[str, Any]]


def table(cells: Cells) -> str:
    """One row per method and order, one column per toy and way of comparing."""
    lines = [
        line(["method", "order", *(f"{toy}, {way}" for toy, way in COLUMNS)]),
        line(["---", "---", *["---:"] * len(COLUMNS)]),
    ]
    for method in dict.fromkeys(cell["method"] for cell in cells):
        of_method = [cell for cell in cells if cell["method"] == method]
        for order in dict.fromkeys(order for cell in of_method for order in cell["curves"]):
            row = [_cell(of_method, toy, way, method, order) for toy, way in COLUMNS]
            lines.append(line([method, order, *row]))
    return "\n".join([*lines, "", _note(cells)])


def _cell(cells: Cells, toy: str, way: str, method: str, order: str) -> str:
    """Gain and dips of one method, and the gain noted for it."""
    curves = [
        cell["curves"][order]
        for cell in cells
        if (cell["toy"], cell["way"]) == (toy, way) and order in cell["curves"]
    ]
    if not curves:
        return "-"
    gains = [curve["gain_map"] for curve in curves]
    spread = f" ± {np.std(gains):.2f}" if len(gains) > 1 else ""
    noted = expected(f"{toy}; {way}", f"{method}; {order}")
    beside = "" if noted is None else f" ({noted:.2f})"
    return f"{np.mean(gains):.2f}{spread}{beside}, {np.mean([c['dips'] for c in curves]):.1f}"


def _note(cells: Cells) -> str:
    seeds = {column: set() for column in COLUMNS}
    for cell in cells:
        seeds[cell["toy"], cell["way"]].add(cell["seed"])
    counts = ", ".join(f"{toy} {way}: {len(seeds[toy, way])}" for toy, way in COLUMNS)
    return (
        "Each cell: gain of map, mean ± standard deviation over seeds (the figure noted in the "
        f"method specification for its own toy), then dips per curve of ten steps. Seeds begun: "
        f"{counts}."
    )


if __name__ == "__main__":
    main("mixed_toy", lambda: table(json.loads(RESULTS.read_text())["cells"]), __doc__ or "")
