"""Turn results/*.json into the tables of docs/benchmarks.md.

python benchmarks/compatible_heads/table.py                             # print them
python benchmarks/compatible_heads/table.py --into docs/benchmarks.md   # replace them there
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.compatible_heads.run import (
    CLAIMS,
    PLANS,
    Rows,
    aims,
    cell,
    differences,
    gain,
    mean,
)
from benchmarks.page import line, main
from benchmarks.page import table as as_table

SEEDS = 3  # of a full run; fewer stand in brackets
RESULTS = Path(__file__).parent / "results"
TITLES = {
    "seen": "classes that the models know",
    "unseen": "classes that no model saw",
    "unseen-noisy": "the same, more noise",
    "plain-softmax": "plain softmax",
}


def text() -> str:
    """The recipes and their differences in every plan that was run, and the aims."""
    parts, verdicts = [], []
    for plan in PLANS:
        path = RESULTS / f"{plan.name}.json"
        if path.exists():
            rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
            parts += [_recipes(TITLES[plan.name], rows), _differences(rows)]
            verdicts += [
                [name, aim["value"], aim["aim"], "yes" if aim["met"] else "**no**"]
                for name, aim in aims(plan.name, rows).items()
            ]
    return "\n\n".join([*parts, as_table(["aim", "value", "wanted", "met"], verdicts)])


def _recipes(title: str, rows: Rows) -> str:
    splits = list(dict.fromkeys(row["split"] for row in rows))
    lines = [line([title, *splits]), line(["---"] + ["---:"] * len(splits))]
    for side in ("old/old", "new/new"):
        figures = (
            [row[side]["map"] for row in rows if cell(row) == (split, "independent")]
            for split in splits
        )
        lines.append(line([f"independent, {side}", *map(_spread, figures)]))
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        if recipe != "independent":
            lines.append(line([recipe, *(_cell(rows, split, recipe) for split in splits)]))
    return "\n".join(lines)


def _cell(rows: Rows, split: str, recipe: str) -> str:
    """new/old - old/old (bold where it is above 0), and P_1."""
    found = [row for row in rows if cell(row) == (split, recipe)]
    if not found:
        return "-"
    gained = [gain(row) for row in found]
    ahead = _spread(gained, "+.3f", ".3f")
    if np.mean(gained) > 0:
        ahead = f"**{ahead}**"
    undefined = mean(row["p_1"] for row in found) is None
    score = "-" if undefined else _spread([row["p_1"] for row in found], ".1f", ".1f")
    return f"{ahead}, {score}" + ("" if len(found) >= SEEDS else f" ({len(found)})")


def _differences(rows: Rows) -> str:
    splits = list(dict.fromkeys(row["split"] for row in rows))
    lines = [line(["P_1, mean [each seed]", *splits]), line(["---"] + ["---:"] * len(splits))]
    for one, other in CLAIMS:
        apart = [differences(rows, one, other, split) for split in splits]
        if any(apart):
            lines.append(line([f"{one} - {other}", *map(_each, apart)]))
    return "\n".join(lines)


def _each(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{np.mean(values):+.1f} [{' '.join(f'{value:+.1f}' for value in values)}]"


def _spread(values: list[float], figure: str = ".3f", deviation: str = ".3f") -> str:
    apart = f" ± {np.std(values):{deviation}}" if len(values) > 1 else ""
    return f"{np.mean(values):{figure}}{apart}"


if __name__ == "__main__":
    main("compatible_heads", text, __doc__ or "")
