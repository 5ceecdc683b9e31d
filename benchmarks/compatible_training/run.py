"""Do models trained to be compatible search old galleries better than the old model did?

Every recipe against independent training, in five splits. See README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from benchmarks.compatible_training.data import Task, cifar100, omniglot
from benchmarks.compatible_training.experiment import Experiment, OutOfTimeError, Plan
from benchmarks.compatible_training.measure import mean_of
from benchmarks.compatible_training.plans import CIFAR100, LONGER, OMNIGLOT, QUICK, RESNET18
from benchmarks.rows import read_rows, write_rows

HERE = Path(__file__).resolve().parent
BENCHMARK = "compatible_training"


def run_plan(
    plan: Plan, task: Task, seeds: list[int], results: Path | None, work: Path, deadline: float
) -> tuple[list[dict[str, Any]], bool]:
    """Run what is missing in the results file; say whether everything is there now.

    Rows are written as they come, so the same call again goes on where this one ended.
    """
    everything = json.loads(json.dumps(asdict(plan)))
    # Adding a recipe or a split, or changing one recipe's options, leaves the other rows valid.
    identity = {
        name: part
        for name, part in everything.items()
        if name not in ("recipes", "splits", "options")
    }
    rows = [
        row
        for row in read_rows(results, identity)
        if row["options"] == everything["options"].get(row["recipe"], {})
    ]
    for seed in seeds:
        for kind in plan.splits:
            done = {row["recipe"] for row in rows if (row["split"], row["seed"]) == (kind, seed)}
            missing = tuple(name for name in plan.recipes if name not in done)
            if not missing:
                continue
            experiment = Experiment(plan, task, kind, seed, work, deadline)
            try:
                for row in experiment.rows(missing):
                    rows.append(row)
                    print(summary(row), file=sys.stderr, flush=True)
                    if results is not None:
                        write_rows(results, BENCHMARK, identity, rows, torch, np)
            except OutOfTimeError:
                return rows, False
    return rows, True


def some_of(splits: tuple[str, ...], wanted: str | None) -> tuple[str, ...]:
    """Keep the splits named, in the plan's order."""
    return splits if wanted is None else tuple(s for s in splits if s in wanted.split(","))


def summary(row: dict[str, Any]) -> str:
    cells = " ".join(f"{name} {row[name]['map']:.3f}" for name in ("old/old", "new/old", "new/new"))
    return (
        f"{row['split']:17} seed {row['seed']} {row['recipe']:12} {cells} "
        f"P_1 {row['p_1']} flips {row['mean_flips@1']:.3f} ({row['seconds']:.0f} s)"
    )


def table(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Means over seeds: {split: {recipe: {figure: value}}}."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind in dict.fromkeys(row["split"] for row in rows):
        for name in dict.fromkeys(row["recipe"] for row in rows):
            some = [row for row in rows if (row["split"], row["recipe"]) == (kind, name)]
            if some:
                found.setdefault(kind, {})[name] = {
                    "old/old": round(mean_of(some, "old/old", "map"), 4),
                    "new/old": round(mean_of(some, "new/old", "map"), 4),
                    "new/new": round(mean_of(some, "new/new", "map"), 4),
                    "p_up": round(mean_of(some, "p_up"), 2),
                    "p_comp": round(mean_of(some, "p_comp"), 2),
                    "p_1": round(mean_of(some, "p_1"), 2),
                    "hot_refresh_area": round(mean_of(some, "hot_refresh_area"), 4),
                    "flips@1": round(mean_of(some, "mean_flips@1"), 4),
                    "seeds": len(some),
                }
    return found


def aims(name: str, figures: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """How many recipes meet BCT's criterion in the extended splits.

    P_1 of one recipe against another is no aim here: in the open splits of Omniglot it is
    undefined, and networks that start from nothing are not what the papers compare. See
    `benchmarks/compatible_heads`.
    """
    compatible = [
        cells["new/old"] > cells["old/old"]
        for kind in ("extended-class", "extended-data")
        for recipe, cells in figures.get(kind, {}).items()
        if recipe != "independent"
    ]
    if not compatible:
        return {}
    share = round(sum(compatible) / len(compatible), 3)
    key = f"{name}: recipes with new/old > old/old, extended splits"
    return {key: {"value": share, "aim": 1.0, "met": share == 1.0}}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="Omniglot, one split, under a minute")
    parser.add_argument("--data", type=Path, help="CIFAR-100, or a folder that holds cifar100")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=3, help="how many, in the full run")
    parser.add_argument(
        "--only", choices=["omniglot", "longer", "cifar100"], help="one data set only"
    )
    parser.add_argument("--splits", help="some of them, comma between; the rest another time")
    parser.add_argument("--device", default="cpu", help="cuda: ResNet-18 on CIFAR-100")
    parser.add_argument("--minutes", type=float, help="stop after so long; call again to go on")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "hotfill-compatible-training",
        help="folder for checkpoints of what is unfinished",
    )
    options = parser.parse_args(arguments)
    deadline = time.monotonic() + 60 * (options.minutes or math.inf)
    seeds = list(range(options.seed, options.seed + (1 if options.quick else options.seeds)))
    torch.set_num_threads(1 if options.device == "cpu" else 8)

    folder = options.data
    if folder is not None and (folder / "cifar100").is_dir():
        folder = folder / "cifar100"
    runs: list[tuple[Plan, Task]] = []
    if options.device != "cpu":
        if folder is None:
            parser.error("--device needs --data, the folder of CIFAR-100")
        runs.append((RESNET18, cifar100(folder, shards=3)))
    elif options.quick:
        runs.append((QUICK, omniglot(classes=60, test_classes=40)))
    else:
        for plan, name in ((OMNIGLOT, "omniglot"), (LONGER, "longer")):
            if options.only in (None, name):
                runs.append((plan, omniglot(classes=300, test_classes=150)))
        if folder is not None and options.only in (None, "cifar100"):
            runs.append((CIFAR100, cifar100(folder, shards=1, classes=50)))

    figures, met, complete = {}, {}, True
    for whole, task in runs:
        plan = replace(whole, splits=some_of(whole.splits, options.splits))
        results = None if options.quick else HERE / "results" / f"{plan.name}.json"
        rows, finished = run_plan(plan, task, seeds, results, options.work, deadline)
        complete = complete and finished
        figures[plan.name] = table(rows)
        met |= aims(plan.name, figures[plan.name])
    print(
        json.dumps({"benchmark": BENCHMARK, "complete": complete, "figures": figures, "aims": met})
    )


if __name__ == "__main__":
    main()
