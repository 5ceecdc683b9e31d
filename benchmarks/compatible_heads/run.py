"""Do the papers' claims about compatible training hold for heads over frozen features?

Every recipe in five splits, differences paired by seed. See README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from benchmarks.compatible_heads.data import Task, cifar100, made_up
from benchmarks.compatible_heads.experiment import (
    NOISY,
    OLD_HEAD_ONLY,
    PLAIN,
    SEEN,
    SYNTHESISED,
    UNSEEN,
    Experiment,
    Plan,
    possible,
)
from benchmarks.rows import read_rows, write_rows

HERE = Path(__file__).resolve().parent
BENCHMARK = "compatible_heads"
PLANS = (SEEN, UNSEEN, NOISY, PLAIN)
TRIALS = (NOISY.name,)
"""Regimes that were tried and not chosen: shown, without aims."""
CLAIMS = (
    ("advbct", OLD_HEAD_ONLY),
    ("unibct", OLD_HEAD_ONLY),
    ("advbct", SYNTHESISED),
    ("unibct", SYNTHESISED),
    ("unibct, alternatives", SYNTHESISED),
    ("unibct", f"{OLD_HEAD_ONLY}, softer"),
    ("unibct", f"{SYNTHESISED}, softer"),
    ("bounded", SYNTHESISED),
)
"""What is compared, first minus second. The papers claim the first two."""

QUICK = replace(
    SEEN,
    splits=("extended-class",),
    items=20,
    recipes={title: SEEN.recipes[title] for title in ("independent", OLD_HEAD_ONLY, "unibct")},
)

Rows = list[dict[str, Any]]


def run_plan(plan: Plan, task: Task, seeds: list[int], results: Path | None) -> Rows:
    """Run what is missing in the results file. Rows are written as they come."""
    whole = json.loads(json.dumps(asdict(plan)))
    # Another recipe or split leaves the rows that are there valid; other options of one do not.
    identity = {name: part for name, part in whole.items() if name not in ("recipes", "splits")}
    rows = [
        row
        for row in read_rows(results, identity)
        if [row["name"], row["options"]] == whole["recipes"].get(row["recipe"])
    ]
    for seed in seeds:
        for kind in plan.splits:
            done = {row["recipe"] for row in rows if (row["split"], row["seed"]) == (kind, seed)}
            missing = tuple(
                title
                for title, (_, options) in plan.recipes.items()
                if title not in done and possible(kind, options)
            )
            if not missing:
                continue
            for row in Experiment(plan, task, kind, seed).rows(missing):
                name, options = whole["recipes"][row["recipe"]]
                rows.append(row | {"name": name, "options": options})
                print(summary(row), file=sys.stderr, flush=True)
                if results is not None:
                    write_rows(results, BENCHMARK, identity, rows, torch, np)
    return rows


def summary(row: dict[str, Any]) -> str:
    cells = " ".join(f"{name} {row[name]['map']:.3f}" for name in ("old/old", "new/old", "new/new"))
    return (
        f"{row['split']:17} seed {row['seed']} {row['recipe']:20} {cells} "
        f"P_1 {row['p_1']} ({row['cpu_seconds']:.1f} s)"
    )


def figures(rows: Rows) -> dict[str, dict[str, dict[str, float | None]]]:
    """Means over seeds: {split: {recipe: {figure: value}}}."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for row in rows:
        some = [one for one in rows if cell(one) == cell(row)]
        found.setdefault(row["split"], {})[row["recipe"]] = {
            "gain": mean(gain(one) for one in some),
            "new/new": mean(one["new/new"]["map"] for one in some),
            "p_1": mean(one["p_1"] for one in some),
            "seeds": len(some),
        }
    return found


def differences(rows: Rows, one: str, other: str, split: str) -> list[float]:
    """P_1 of one recipe minus that of another, seed by seed, where both have it."""
    p_1 = {
        title: {row["seed"]: row["p_1"] for row in rows if cell(row) == (split, title)}
        for title in (one, other)
    }
    both = sorted(p_1[one].keys() & p_1[other].keys())
    pairs = [(p_1[one][seed], p_1[other][seed]) for seed in both]
    return [first - second for first, second in pairs if None not in (first, second)]


def aims(name: str, rows: Rows) -> dict[str, dict[str, Any]]:
    """The two papers' claims: P_1 not below BCT's, as the published code has it."""
    found: dict[str, dict[str, Any]] = {}
    if name in TRIALS:
        return found
    for one, other in CLAIMS[:2]:
        for split in dict.fromkeys(row["split"] for row in rows):
            apart = differences(rows, one, other, split)
            if apart:
                value = round(float(np.mean(apart)), 2)
                key = f"{name}: P_1 of {one} - {other}, {split}"
                found[key] = {"value": value, "aim": 0.0, "met": value >= 0}
    return found


def cell(row: dict[str, Any]) -> tuple[str, str]:
    return row["split"], row["recipe"]


def gain(row: dict[str, Any]) -> float:
    """New queries in the old gallery, against the old queries there."""
    return float(row["new/old"]["map"] - row["old/old"]["map"])


def mean(values: Iterable[float | None]) -> float | None:
    """None where any is undefined."""
    found = [math.nan if value is None else value for value in values]
    return None if any(map(math.isnan, found)) else round(float(np.mean(found)), 4)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one split, one seed, under a minute")
    parser.add_argument(
        "--data",
        type=Path,
        help="the features of CIFAR-100, or their parent; without it --quick makes features up",
    )
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=3, help="how many, in the full run")
    parser.add_argument("--only", choices=[plan.name for plan in PLANS], help="one plan only")
    options = parser.parse_args(arguments)
    if options.data is None and not options.quick:
        parser.error("--data: expected the folder of CIFAR-100's features; only --quick needs none")
    torch.set_num_threads(1)
    plans = [QUICK] if options.quick else [p for p in PLANS if options.only in (None, p.name)]
    found, met = {}, {}
    for plan in plans:
        sizes = {"items": plan.items, "queries": plan.queries, "gallery": plan.gallery}
        if options.data is None:
            task = made_up(options.seed, classes=100, **sizes)
        else:
            below = options.data / "cifar100"
            task = cifar100(below if below.is_dir() else options.data, **sizes)
        seeds = range(options.seed, options.seed + (1 if options.quick else options.seeds))
        results = None if options.quick else HERE / "results" / f"{plan.name}.json"
        rows = run_plan(plan, task, list(seeds), results)
        found[plan.name] = figures(rows)
        met |= aims(plan.name, rows)
    print(json.dumps({"benchmark": BENCHMARK, "figures": found, "aims": met}))


if __name__ == "__main__":
    main()
