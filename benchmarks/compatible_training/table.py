"""Turn results/*.json into the tables of docs/benchmarks.md.

python benchmarks/compatible_training/table.py                             # print them
python benchmarks/compatible_training/table.py --into docs/benchmarks.md   # replace them there
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.compatible_training.measure import mean_of
from benchmarks.compatible_training.plans import CIFAR100, LONGER, OMNIGLOT
from benchmarks.compatible_training.run import aims, table
from benchmarks.page import line, main
from benchmarks.page import table as as_table

RESULTS = Path(__file__).parent / "results"
TITLES = {
    "omniglot": "Omniglot",
    "omniglot-longer": "Omniglot, trained five times as long",
    "cifar100": "CIFAR-100",
}

Rows = list[dict[str, Any]]


def text() -> str:
    """The tables of every data set that was run, and the aims."""
    parts, met = [], {}
    for plan in (OMNIGLOT, LONGER, CIFAR100):
        path = RESULTS / f"{plan.name}.json"
        if path.exists():
            rows = json.loads(path.read_text())["rows"]
            parts += [of_data_set(TITLES[plan.name], rows)]
            met |= aims(plan.name, table(rows))
    heads = ["aim", "value", "wanted", "met"]
    verdicts = [
        [name, aim["value"], aim["aim"], "yes" if aim["met"] else "**no**"]
        for name, aim in met.items()
    ]
    return "\n\n".join([*parts, as_table(heads, verdicts)])


def of_data_set(title: str, rows: Rows) -> str:
    """One row per recipe; in each split what it is compared by."""
    splits = list(dict.fromkeys(row["split"] for row in rows))
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    lines = [line([title, *splits]), line(["---"] + ["---:"] * len(splits))]
    for side in ("old/old", "new/new"):
        cells = [
            _figure([row[side]["map"] for row in _some(rows, split, "independent")])
            for split in splits
        ]
        lines.append(line([f"independent, {side}", *cells]))
    for recipe in recipes:
        if recipe != "independent":
            lines.append(line([recipe, *(_cell(rows, split, recipe) for split in splits)]))
    return "\n".join(lines)


def _cell(rows: Rows, split: str, recipe: str) -> str:
    """new/old - old/old (bold where it is above 0), P_1 and flips."""
    found = _some(rows, split, recipe)
    if not found:
        return "-"
    gained = [row["new/old"]["map"] - row["old/old"]["map"] for row in found]
    ahead = f"{np.mean(gained):+.3f}" + (f" ± {np.std(gained):.3f}" if len(found) > 1 else "")
    if np.mean(gained) > 0:
        ahead = f"**{ahead}**"
    p_1 = mean_of(found, "p_1")
    flips = np.mean([row["mean_flips@1"] for row in found])
    seeds = "" if len(found) == 3 else f" ({len(found)})"
    return f"{ahead}, {'-' if math.isnan(p_1) else f'{p_1:.0f}'}, {flips:.2f}{seeds}"


def _figure(values: list[float]) -> str:
    spread = f" ± {np.std(values):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}" if values else "-"


def _some(rows: Rows, split: str, recipe: str) -> Rows:
    return [row for row in rows if (row["split"], row["recipe"]) == (split, recipe)]


if __name__ == "__main__":
    main("compatible_training", text, __doc__ or "")
