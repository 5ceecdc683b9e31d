"""How good is a half-backfilled gallery? All methods and baselines side by side, in one run.

    python benchmarks/mixed_quality/run.py [--quick] [--data DIR] [--texts DIR] [--seeds N]

--data: the folder of all data sets (cifar100 is read from it). --texts: what `texts.py` wrote.
Without them, and with --quick, only Omniglot and digits run, which need nothing. A run with other
data adds its pairs to the results that are there.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.mixed_quality.methods import DEFAULT, METHODS, Workbench  # noqa: E402
from benchmarks.mixed_quality.pairs import all_pairs  # noqa: E402
from hotfill.evaluation.backfill_evaluation import (  # noqa: E402
    PerQuery,
    Stages,
    evaluate_backfill,
    evaluate_side,
    evenly,
)
from hotfill.evaluation.orders import highest_first, random_order  # noqa: E402
from hotfill.evaluation.sample import cosines  # noqa: E402
from hotfill.transforms import uncertainty  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "mixed_quality.json"
FIGURES = ("map", "hit_rate@1", "ndcg@10")
QUICK_PAIRS = ("digits", "omniglot")
BASELINES_TO_BEAT = ("naive merge", "RRF", "Procrustes bridge, isotonic")
NOISE = 2.0  # standard errors of a paired difference: a smaller fall is not a dip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--pairs", nargs="+")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    makers = all_pairs(arguments.data, arguments.texts)
    wanted = arguments.pairs or (QUICK_PAIRS if arguments.quick else list(makers))
    seeds = range(arguments.seed, arguments.seed + (1 if arguments.quick else arguments.seeds))
    points = 5 if arguments.quick else 11
    cells = []
    out = arguments.out or (None if arguments.quick else RESULTS)
    if out is not None and out.exists():
        kept = json.loads(out.read_text())["cells"]
        cells = [cell for cell in kept if cell["pair"] not in wanted or cell["seed"] not in seeds]
    for seed in seeds:
        for name in wanted:
            began = time.perf_counter()
            cells.append(measure(name, makers[name], seed, points, quick=arguments.quick))
            print(f"{name}, seed {seed}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
            if out is not None:
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_text(json.dumps({"machine": machine(), "cells": cells}, indent=1) + "\n")
    print(json.dumps({"benchmark": "mixed_quality", **conclude(cells)}))


def measure(name: str, make, seed: int, points: int, *, quick: bool) -> dict:
    """Run every method on one pair with one seed."""
    bench = Workbench(make(seed))
    sample, relevance, exclude = bench.sample, bench.pair.relevance, bench.pair.exclude
    if quick:
        relevance = relevance.take(slice(0, 100))
        exclude = None if exclude is None else exclude[:100]
    ends = {
        side: evaluate_side(
            lambda rows, model=model: cosines(model.queries.read(rows), model.gallery),
            relevance,
            exclude=exclude,
        )
        for side, model in (("old", sample.old), ("new", sample.new))
    }
    orders = {
        "random": random_order(len(sample.gallery), seed=seed),
        "uncertainty": highest_first(
            uncertainty(bench.transform("kernel bridge").transform, bench.pair.old["gallery"]),
            seed=seed,
        ),
    }
    methods = {}
    for title, method in METHODS.items():
        gallery = None if quick and title.startswith("vectormigrate") else method.make(bench)
        if gallery is None:
            continue
        some = orders if method.ours else {"random": orders["random"]}
        stages = evaluate_backfill(gallery, relevance, some, evenly(points), exclude=exclude)
        for order, measured in stages.items():
            methods[f"{title} | {order}"] = {
                "ours": method.ours,
                "fit_seconds": round(gallery.fit_seconds, 2),
                "vectors_rewritten": gallery.vectors_rewritten,
                "query_encodings": gallery.query_encodings,
                **figures_of(measured, ends["old"], ends["new"]),
            }
    return {
        "pair": name,
        "seed": seed,
        "items": len(sample.gallery),
        "queries": len(ends["old"].right),
        "fit_pairs": len(sample.old.fit),
        "dimensions": [sample.old.model.dimension, sample.new.model.dimension],
        "old": ends["old"].mean.to_dict(),
        "new": ends["new"].mean.to_dict(),
        "methods": methods,
    }


def figures_of(stages: Stages, old: PerQuery, new: PerQuery) -> dict:
    curve = stages.curve(old=old.mean, new=new.mean)
    return {
        "gain": curve.gain,
        "floor": curve.floor,
        "dips": curve.dips,
        "dips_beyond_noise": dips_beyond_noise(stages),
        "flips": [round(share, 4) for share in stages.flips],
        **{
            figure: [round(point.mean.to_dict()[figure], 5) for point in stages.points]
            for figure in FIGURES
        },
    }


def dips_beyond_noise(stages: Stages) -> int:
    """Count falls of map by more than two standard errors of the paired per-query difference."""
    dips = 0
    for before, after in zip(stages.points, stages.points[1:], strict=False):
        falls = before.average_precision - after.average_precision
        dips += bool(falls.mean() > NOISE * falls.std() / np.sqrt(len(falls)) + 1e-6)
    return dips


def conclude(cells: list[dict]) -> dict:
    """Reduce to the figures and aims of the last line. Means over pairs of means over seeds."""
    gains = {
        title: float(np.mean([np.mean(some) for some in by_pair(cells, title, "gain").values()]))
        for title in sorted({title for cell in cells for title in cell["methods"]})
        if len(by_pair(cells, title, "gain")) == len({cell["pair"] for cell in cells})
    }
    random = f"{DEFAULT} | random"
    ordered = max((t for t in gains if t.endswith("uncertainty")), key=gains.__getitem__)
    floors = {pair: min(some) for pair, some in by_pair(cells, random, "floor").items()}
    noisy = sum(sum(some) for some in by_pair(cells, random, "dips_beyond_noise").values())
    beaten = share_beaten(cells, random)
    return {
        "figures": {"gain": gains, "lowest_floor": floors},
        "aims": {
            "gain_random": {
                "value": gains[random],
                "aim": ">= 0.85",
                "met": gains[random] >= 0.85,
            },
            "gain_best_label_free_order": {
                "value": gains[ordered],
                "method": ordered,
                "aim": ">= 0.92",
                "met": gains[ordered] >= 0.92,
            },
            "floor": {
                "value": min(floors.values()),
                "aim": ">= 0 on every pair",
                "met": min(floors.values()) >= -1e-6,
            },
            "dips_beyond_noise": {"value": noisy, "aim": "0", "met": noisy == 0},
            "beats_baselines_everywhere": {
                "value": beaten,
                "aim": "1.0 of shares below 100 % on every pair",
                "met": beaten == 1.0,
            },
        },
    }


def by_pair(cells: list[dict], title: str, figure: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for cell in cells:
        if title in cell["methods"] and cell["methods"][title][figure] is not None:
            found.setdefault(cell["pair"], []).append(cell["methods"][title][figure])
    return found


def share_beaten(cells: list[dict], title: str) -> float:
    """Share of (cell, share below 1, baseline) where a method's map is at least the baseline's."""
    wins = [
        mine >= theirs
        for cell in cells
        for baseline in BASELINES_TO_BEAT
        for mine, theirs in zip(
            cell["methods"][title]["map"][:-1],
            cell["methods"][f"{baseline} | random"]["map"][:-1],
            strict=True,
        )
    ]
    return float(np.mean(wins))


def machine() -> dict[str, str]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    return {
        "commit": commit,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "processor": platform.machine(),
    }


if __name__ == "__main__":
    main()
