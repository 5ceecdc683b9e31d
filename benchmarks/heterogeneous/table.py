"""Turn results/*.json into the tables of docs/benchmarks.md; the pictures go next to them.

python benchmarks/heterogeneous/table.py                             # print them
python benchmarks/heterogeneous/table.py --into docs/benchmarks.md   # replace them there
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.heterogeneous.plans import (
    CIFAR100,
    DISTILLATIONS,
    OMNIGLOT,
    as_long,
    share_name,
)
from benchmarks.heterogeneous.run import FOUND, SHARES, aims, aims_of_pairs, table
from benchmarks.page import main
from benchmarks.page import table as as_table
from hotfill.lab.architecture_search.search import WAYS

RESULTS = Path(__file__).parent / "results"
PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures" / "measured"
TITLES = {"omniglot": "Omniglot", "cifar100": "CIFAR-100"}
SYSTEMS = ("large", "independent", *FOUND, "random search", "hand-made", *DISTILLATIONS)
HEADS = ("query/large", "query/query", "hit_rate@1", "MFLOPs", "ms a query", "seeds")

Rows = list[dict[str, Any]]


def text() -> str:
    """The table and the picture of every data set that was run, and the aims."""
    parts, met = [], {}
    for plan in (OMNIGLOT, CIFAR100):
        path = RESULTS / f"{plan.name}.json"
        if path.exists():
            rows = json.loads(path.read_text())["rows"]
            parts += [of_data_set(TITLES[plan.name], rows), picture(plan.name)]
            met |= aims(plan.name, table(rows))
        for one, trained in ((plan, "by default"), (as_long(plan), "large as long as small")):
            pairs = RESULTS / f"pairs-{one.name}.json"
            if pairs.exists():
                rows = json.loads(pairs.read_text())["rows"]
                shares = [share for share in SHARES if any(_of(row, share) for row in rows)]
                parts.append(of_pairs(f"{TITLES[plan.name]}, {trained}", rows, shares))
                met |= {
                    f"{trained}: {name}": aim for name, aim in aims_of_pairs(rows, shares).items()
                }
    verdicts = [
        [name, aim["value"], aim["aim"], "yes" if aim["met"] else "**no**"]
        for name, aim in met.items()
    ]
    return "\n\n".join([*parts, as_table(["aim", "value", "wanted", "met"], verdicts)])


def of_data_set(title: str, rows: Rows) -> str:
    """One row per system."""
    lines = []
    for system in SYSTEMS:
        some = [row for row in rows if row["system"] == system]
        if not some:
            continue
        lines.append(
            [
                system,
                _spread([row["query/large"]["map"] for row in some]),
                _spread([row["query/query"]["map"] for row in some]),
                _spread([row["query/large"]["hit_rate@1"] for row in some]),
                f"{np.mean([row['flops'] for row in some]) / 1e6:.2f}",
                f"{np.mean([row['latency_ms']['p50'] for row in some]):.2f}",
                len(some),
            ]
        )
    return as_table([title, *HEADS], lines)


def of_pairs(title: str, rows: Rows, shares: list[float]) -> str:
    """One row per share and way: what it keeps of the large model's map, seed by seed."""
    large = {row["seed"]: row["query/query"]["map"] for row in rows if row["system"] == "large"}
    lines = [["large", "", _spread(list(large.values())), "", "", len(large)]]
    for share in shares:
        for way in ("finalist", *WAYS):
            name = f"{share_name(share)} {way}"
            some = [row for row in rows if row["system"] == name]
            kept = [row["query/large"]["map"] / large[row["seed"]] for row in some]
            lines.append(
                [
                    name,
                    f"{np.mean([row['flops'] for row in some]) / 1e6:.2f}",
                    _spread([row["query/large"]["map"] for row in some]),
                    " ".join(f"{100 * (1 - each):+.1f}" for each in kept),
                    sum(row["kept"] for row in some),
                    len(some),
                ]
            )
    heads = ["MFLOPs", "query/large", "% lost, each seed", "kept", "seeds"]
    return as_table([title, *heads], lines)


def _of(row: dict[str, Any], share: float) -> bool:
    return str(row["system"]).startswith(f"{share_name(share)} ")


def picture(name: str) -> str:
    """Put the picture of the search next to the pages, and show it."""
    drawn = RESULTS / f"{name}.svg"
    shutil.copyfile(drawn, PICTURES / f"search-{name}.svg")
    return (
        f"![{TITLES[name]}: reward of every candidate of the r3 search against its FLOPs, and the "
        f"Pareto front](pictures/measured/search-{name}.svg)"
    )


def _spread(values: list[float]) -> str:
    spread = f" ± {np.std(values):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


if __name__ == "__main__":
    main("heterogeneous", text, __doc__ or "")
