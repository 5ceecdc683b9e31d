"""Turn results/*.json into the tables of docs/benchmarks.md.

python benchmarks/generations/table.py                             # print them
python benchmarks/generations/table.py --into docs/benchmarks.md   # replace them there
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.generations import heads
from benchmarks.generations.label_free import BUDGETS, ORDERS
from benchmarks.generations.run import aims, kept, read_all
from benchmarks.page import main
from benchmarks.page import table as as_table
from benchmarks.rows import Row

WAYS = ("kept", "composed", "fitted anew")
SEEDS = 3  # of a full run; fewer stand in brackets


def text() -> str:
    """Every part that was measured, and the aims."""
    found = read_all()
    chains = dict.fromkeys(row["chain"] for row in found["label_free"])
    parts = []
    for chain in chains:
        own = [row for row in found["label_free"] if row["chain"] == chain]
        parts += [_alone(chain, own), _budgets(chain, own), _again(chain, own)]
    parts += [_heads(found["heads"]), _weights(found["heads"])]
    if found["codes"]:
        parts.append(_codes(found["codes"]))
    if found["cost"]:
        parts.append(_cost(found["cost"]))
    verdicts = [
        [name, aim["value"], aim["aim"], "yes" if aim["met"] else "**no**"]
        for name, aim in aims(found).items()
    ]
    parts.append(as_table(["aim", "value", "wanted", "met"], verdicts))
    return "\n\n".join(part for part in parts if part)


def _alone(chain: str, rows: list[Row]) -> str:
    rows = [row for row in rows if row["part"] == "without contents"]
    heads_of = [
        f"{chain}: map; hit rate@1",
        "old",
        *WAYS,
        "new",
        "flips, kept",
    ]
    lines = []
    for old, new in dict.fromkeys((row["from"], row["to"]) for row in rows):
        own = [row for row in rows if (row["from"], row["to"]) == (old, new)]
        cells = [
            _both([row["ways"][way] for row in own]) if way in own[0]["ways"] else "-"
            for way in WAYS
        ]
        flips = _mean([row["ways"]["kept"]["flips@1"] for row in own])
        before, after = (_both([row[end] for row in own]) for end in ("old", "new"))
        lines.append([f"{old} to {new}{_seeds(own)}", before, *cells, after, flips])
    return as_table(heads_of, lines) if lines else ""


def _budgets(chain: str, rows: list[Row]) -> str:
    rows = [row for row in rows if row["part"] == "budgets"]
    lines = []
    for title, way in (("", "way"), (", by traffic", "way by traffic")):
        for order in ORDERS:
            own = [row for row in rows if row["order"] == order]
            if own:
                points = zip(*(row["points"] for row in own), strict=True)
                values = [_mean([kept(point[way]) for point in some], ".2f") for some in points]
                lines.append([f"{order}{title}", *values])
    columns = [f"{chain}: share of the way", *(f"{share:.0%}" for share in BUDGETS)]
    return as_table(columns, lines) if lines else ""


def _again(chain: str, rows: list[Row]) -> str:
    rows = [row for row in rows if row["part"] == "again and again"]
    if not rows:
        return ""
    generations = sorted({row["generation"] for row in rows})
    lines = []
    for budget, vectors in dict.fromkeys((row["budget"], row["vectors"]) for row in rows):
        cells = []
        for generation in generations:
            own = [
                row
                for row in rows
                if (row["budget"], row["vectors"], row["generation"])
                == (budget, vectors, generation)
            ]
            cells.append(_mean([row["map"] for row in own]))
        lines.append([f"{budget:.0%} in every upgrade, vectors {vectors}", *cells])
    ends = []
    for generation in generations:
        own = [row for row in rows if row["generation"] == generation]
        ends.append(f"{_mean([row['new']['map'] for row in own])}")
    lines.append(["everything embedded again", *ends])
    return as_table([f"{chain}: map, generation", *map(str, generations)], lines)


def _heads(rows: list[Row]) -> str:
    """Per kind and recipe: galleries of both later generations, against the first system."""
    columns = [
        "heads",
        "old",
        *(
            f"{name}, generation {number}"
            for number in (2, 3)
            for name in ("as it is", "its map", "label-free map", "embedded again")
        ),
    ]
    lines = []
    for kind in heads.EXTENDED:
        for recipe in heads.RECIPES:
            own = [
                row
                for row in rows
                if (row["kind"], row["recipe"], row["weight"]) == (kind, recipe, None)
            ]
            if not own:
                continue
            cells = []
            for number in (0, 1):
                generations = [row["generations"][number] for row in own]
                for name in ("as it is", "its map", "label-free map"):
                    some = [each["galleries"].get(name) for each in generations]
                    cells.append("-" if None in some else _above(some))
                cells.append(_mean([each["own"]["map"] for each in generations]))
            old = _mean([row["old"]["map"] for row in own])
            lines.append([f"{kind}, {recipe}{_seeds(own)}", old, *cells])
    return as_table(columns, lines) if lines else ""


def _weights(rows: list[Row]) -> str:
    own = [row for row in rows if row["recipe"] == "bict" and row["kind"] == heads.WEIGHED]
    lines = []
    for weight in sorted({1.0 if row["weight"] is None else row["weight"] for row in own}):
        some = [row for row in own if (1.0 if row["weight"] is None else row["weight"]) == weight]
        cells = []
        for number in (0, 1):
            generations = [row["generations"][number] for row in some]
            cells += [_mean([each["own"]["map"] for each in generations])]
            cells += [
                _mean([each["galleries"][name]["map"] for each in generations])
                for name in ("as it is", "its map")
            ]
        lines.append([f"{weight:g}{_seeds(some)}", *cells])
    columns = [
        "BiCT's weight",
        *(
            f"{name}, generation {number}"
            for number in (2, 3)
            for name in ("embedded again", "as it is", "its map")
        ),
    ]
    return as_table(columns, lines) if lines else ""


def _codes(rows: list[Row]) -> str:
    models = rows[0]["models"]
    galleries = [*models, "all three"]
    lines = [
        [
            f"queries of {asked}",
            *(
                _mean([row["cells"][f"{asked} -> {there}"]["map"] for row in rows])
                for there in galleries
            ),
            _mean([row["found by the index"][place] for row in rows]),
        ]
        for place, asked in enumerate(models)
    ]
    title = f"codes of {rows[0]['bits']} bits{_seeds(rows)}: map"
    return as_table([title, *galleries, "found by the index"], lines)


def _cost(rows: list[Row]) -> str:
    figures = ("one index", "three origins", "ratio")
    title = f"{rows[0]['items']:,} x {rows[0]['dimension']}, ms of processor a query{_seeds(rows)}"
    cells = [_mean([row[name] for row in rows], ".2f") for name in figures]
    return as_table([title, *figures], [["exact search, k = 10", *cells]])


def _above(cells: Iterable[Row]) -> str:
    """The map, bold where it is above the first system's in every seed."""
    cells = list(cells)
    figure = _mean([cell["map"] for cell in cells])
    return f"**{figure}**" if all(cell["above old"]["mean"] >= 0 for cell in cells) else figure


def _both(figures: list[Row]) -> str:
    return "; ".join(_mean([each[name] for each in figures]) for name in ("map", "hit_rate@1"))


def _mean(values: Iterable[float], digits: str = ".3f") -> str:
    values = list(values)
    apart = f" ± {np.std(values):{digits}}" if len(values) == SEEDS else ""
    return f"{np.mean(values):{digits}}{apart}"


def _seeds(rows: list[Row]) -> str:
    count = len({row["seed"] for row in rows})
    return "" if count >= SEEDS else f" ({count})"


if __name__ == "__main__":
    main("generations", text, __doc__ or "")
