"""Does the ladder of online backfilling rise on pre-trained features, and do labels pay?

    python benchmarks/online_backfilling/run.py --data DIR [--texts DIR] [--quick] [--seed N]

Every method of the papers and hotfill's own, on heads over frozen features: three pairs of
MobileNets on CIFAR-100, and with `--texts` (made by `benchmarks/mixed_quality/texts.py`) TF-IDF to
MiniLM on two sets of questions. What is in the results file is not measured again. Without `--data`
the toy of `mixed_toy` stands in, which says nothing about real models.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import pairwise, product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.mixed_toy.methods import WAYS  # noqa: E402
from benchmarks.mixed_toy.toys import synthetic  # noqa: E402
from benchmarks.online_backfilling.data import all_pairs  # noqa: E402
from benchmarks.online_backfilling.methods import (  # noqa: E402
    DEFAULT,
    LABEL_FREE_NAMES,
    LADDER,
    METHODS,
    QueryBench,
)
from benchmarks.rows import Row, read_rows, write_rows  # noqa: E402
from hotfill.lab.training.transforms import MapSettings  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "online_backfilling.json"
PLAN = {"classes": 100, "head_epochs": 16, "map_epochs": 16, "hidden": 256, "bootstrap": 1000}
QUICK = {**PLAN, "classes": 12, "head_epochs": 6, "map_epochs": 5, "bootstrap": 100}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="twelve classes, one pair, a minute")
    parser.add_argument("--data", type=Path, help="the folder of all data sets")
    parser.add_argument("--texts", type=Path, help="what mixed_quality/texts.py made")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    plan = QUICK if options.quick else PLAN
    results = None if options.quick or options.data is None else RESULTS
    rows = read_rows(results, plan)
    if options.data is None:
        makers = {"toy": lambda seed, **_: synthetic(seed, points=40)}
    else:
        makers = all_pairs(options.data, options.texts)
    if options.quick:
        makers = dict(list(makers.items())[:1])
    seeds = range(options.seed, options.seed + (1 if options.quick else options.seeds))
    # Every pair once before any pair twice: what was measured when time ran out says most then.
    for seed, (name, make) in product(seeds, makers.items()):
        if not any((row["pair"], row["seed"]) == (name, seed) for row in rows):
            rows.append(measure(name, make, seed, plan))
            if results is not None:
                write_rows(results, "online_backfilling", plan, rows, torch, np)
    print(json.dumps({"benchmark": "online_backfilling", **conclude(rows)}))


def measure(name: str, make: Any, seed: int, plan: dict[str, Any]) -> Row:
    """Run every method on one pair and seed."""
    toy = make(seed, classes=plan["classes"], epochs=plan["head_epochs"])
    settings = MapSettings(epochs=plan["map_epochs"], batch=256, learning_rate=1e-3, seed=seed)
    bench = QueryBench(
        toy,
        WAYS["normalised"],
        seed,
        settings,
        hidden=plan["hidden"],
        forward_hidden=plan["hidden"],
    )
    old, new = (bench.side(scores) for scores in (bench.old_scores, bench.new_scores))
    cells, areas = {}, {}
    for method, run in METHODS.items():
        began = time.perf_counter()
        for order, stages in run(bench).items():
            curve = stages.curve(old=old.mean, new=new.mean)
            title = method if order == "random" else f"{method}; {order}"
            by_query = np.stack([point.average_precision for point in stages.points])
            areas[title] = np.trapezoid(by_query, stages.shares, axis=0)
            cells[title] = {
                "gain": curve.gain,
                "floor": curve.floor,
                "dips": curve.dips,
                "end": curve.end,
                "map": [round(value, 5) for value in curve.values],
                "flips": round(float(np.mean(stages.flips[1:])), 5),
                "seconds": round(time.perf_counter() - began, 1),
            }
        print(f"{name}, seed {seed}: {method} {cells[method]['gain']:.3f}", file=sys.stderr)
    best = max(
        (title for title in cells if title.split(";")[0] not in LABEL_FREE_NAMES),
        key=lambda title: cells[title]["gain"],
    )
    between = [*pairwise(LADDER), (DEFAULT, best)]
    return {
        "pair": name,
        "seed": seed,
        "items": [len(toy.labels["train"]), len(toy.labels["test"])],
        "old": round(old.mean.map, 5),
        "new": round(new.mean.map, 5),
        "cells": cells,
        "steps": [
            {"from": low, "to": high, **interval(areas[high] - areas[low], plan["bootstrap"])}
            for low, high in between
        ],
    }


def interval(apart: np.ndarray, samples: int) -> dict[str, float]:
    """Return the mean difference of the area and its 95 % interval, queries drawn anew."""
    drawn = np.random.default_rng(0).integers(len(apart), size=(samples, len(apart)))
    low, high = np.quantile(apart[drawn].mean(axis=1), (0.025, 0.975))
    return {
        name: round(float(value), 5)
        for name, value in (("area", apart.mean()), ("low", low), ("high", high))
    }


def conclude(rows: list[Row]) -> dict[str, Any]:
    """Means over the seeds, and whether the ladder rises in each of them."""
    figures: dict[str, Any] = {}
    aims: dict[str, Any] = {}
    for name in dict.fromkeys(row["pair"] for row in rows):
        own = [row for row in rows if row["pair"] == name]
        titles = [title for title in own[0]["cells"] if all(title in row["cells"] for row in own)]
        gains = {title: [row["cells"][title]["gain"] for row in own] for title in titles}
        figures[name] = {
            "seeds": len(own),
            "old": round(float(np.mean([row["old"] for row in own])), 4),
            "new": round(float(np.mean([row["new"] for row in own])), 4),
            "gain": {title: round(float(np.mean(some)), 3) for title, some in gains.items()},
        }
        rising = [all(step["low"] > 0 for step in row["steps"][:-1]) for row in own]
        aims[f"{name}: the ladder rises, each step beyond chance (share of seeds)"] = {
            "value": round(float(np.mean(rising)), 2),
            "aim": 1.0,
            "met": all(rising),
        }
        labelled = [row["steps"][-1]["low"] > 0 for row in own]
        aims[
            f"{name}: the best trained with labels is above hotfill's default (share of seeds)"
        ] = {
            "value": round(float(np.mean(labelled)), 2),
            "aim": 1.0,
            "met": all(labelled),
        }
    return {"figures": figures, "aims": aims}


if __name__ == "__main__":
    main()
