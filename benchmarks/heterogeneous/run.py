"""Can a small query model search a large model's gallery, and does CMP-NAS find a better one?

See README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import onnxruntime
import torch

from benchmarks.compatible_training.data import Task, cifar100, omniglot
from benchmarks.heterogeneous.experiment import Experiment, Row
from benchmarks.heterogeneous.plans import (
    CIFAR100,
    OMNIGLOT,
    QUICK,
    Plan,
    as_long,
    on_a_gpu,
    share_name,
)
from benchmarks.rows import read_rows, write_rows
from hotfill.lab.architecture_search.evolution import search_picture
from hotfill.lab.architecture_search.search import LONGER, WAYS

HERE = Path(__file__).resolve().parent
BENCHMARK = "heterogeneous"
FULL = {plan.name: plan for plan in (OMNIGLOT, CIFAR100)}
SHARES = [1 / 20, 1 / 40]
FOUND = ("cmp-nas r1", "cmp-nas r2", "cmp-nas r3")


def task_of(plan: Plan, folder: Path | None) -> Task:
    """What the plan trains on and searches. folder: of CIFAR-100."""
    if plan.shards and folder is not None:
        return cifar100(folder, shards=plan.shards, classes=plan.classes)
    return omniglot(classes=plan.classes, test_classes=plan.test_classes)


def run_plan(
    plan: Plan, task: Task, seeds: list[int], results: Path | None, work: Path
) -> list[Row]:
    """Run what is missing in the results file. Rows are written as they come."""
    identity = json.loads(json.dumps(asdict(plan)))
    rows: list[Row] = read_rows(results, identity)
    for seed in seeds:
        done = {str(row["system"]) for row in rows if row["seed"] == seed}
        compared = plan if seed == 0 else replace(plan, distillations=())
        experiment = Experiment(compared, task, seed, work)
        for row in experiment.rows(done):
            rows.append(row)
            print(summary(row), file=sys.stderr, flush=True)
            if results is not None:
                write_rows(results, BENCHMARK, identity, rows, torch, onnxruntime, np)
        if results is not None and seed == seeds[0]:
            search_picture(experiment.history(), results.with_suffix(".svg"))
    return rows


def run_pairs(
    plan: Plan, task: Task, seeds: list[int], shares: list[float], results: Path | None, work: Path
) -> list[Row]:
    """The pair that pays: what `hotfill architecture-search` finds by default, share by share."""
    identity = json.loads(json.dumps({**asdict(plan), "ways": list(WAYS), "longer": LONGER}))
    rows: list[Row] = read_rows(results, identity)
    for share, seed in product(shares, seeds):
        done = {str(row["system"]) for row in rows if row["seed"] == seed}
        if f"{share_name(share)} finalist" in done:
            continue
        for row in list(Experiment(plan, task, seed, work).pairs(share, done)):
            rows.append(row)
            print(summary(row), file=sys.stderr, flush=True)
        if results is not None:
            write_rows(results, BENCHMARK, identity, rows, torch, onnxruntime, np)
    return rows


def aims_of_pairs(rows: list[Row], shares: list[float]) -> dict[str, dict[str, Any]]:
    """Lost of the large model's map by the kept query model, over the seeds."""
    found = {}
    large = {row["seed"]: row for row in rows if row["system"] == "large"}
    for share in shares:
        title = share_name(share)
        kept: list[Any] = [
            row for row in rows if row.get("kept") and str(row["system"]).startswith(title)
        ]
        lost = [
            1 - row["query/large"]["map"] / large[row["seed"]]["query/query"]["map"]  # type: ignore[index]
            for row in kept
        ]
        value = float(np.mean(lost))
        name = f"{title} of the FLOPs: lost against large/large, mean of {len(kept)} seeds"
        found[name] = {
            **_aim(value, 0.016, met=value <= 0.016),
            "seeds": np.round(lost, 4).tolist(),
        }
    return found


def summary(row: Row) -> str:
    return (
        f"seed {row['seed']} {row['system']:14} query/query {row['query/query']['map']:.3f} "  # type: ignore[index]
        f"query/large {row['query/large']['map']:.3f} {row['flops'] / 1e6:7.3f} MFLOPs "  # type: ignore[index,operator]
        f"{row['latency_ms']['p50']:.3f} ms"  # type: ignore[index]
    )


def table(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Means over seeds: {system: {figure: value}}."""
    found = {}
    for name in dict.fromkeys(str(row["system"]) for row in rows):
        some: list[Any] = [row for row in rows if row["system"] == name]
        found[name] = {
            "query/query": _mean(row["query/query"]["map"] for row in some),
            "query/large": _mean(row["query/large"]["map"] for row in some),
            "hit_rate@1 query/large": _mean(row["query/large"]["hit_rate@1"] for row in some),
            "mflops": _mean(row["flops"] / 1e6 for row in some),
            "latency_p50_ms": _mean(row["latency_ms"]["p50"] for row in some),
            "seeds": len(some),
        }
    return found


def aims(name: str, figures: dict[str, dict[str, float]]) -> dict[str, dict[str, Any]]:
    """The issue's aims, on means over the seeds run."""
    if not {"large", "random search", "hand-made", *FOUND} <= set(figures):
        return {}
    paragon, best = figures["large"], figures["cmp-nas r3"]

    def quality(system: str) -> float:
        return figures[system]["query/large"]

    lost = 1 - best["query/large"] / paragon["query/large"]
    cheaper = paragon["mflops"] / best["mflops"]
    others = {
        "r1": quality("cmp-nas r1"),
        "r2": quality("cmp-nas r2"),
        "random search": quality("random search"),
        "the hand-made net": quality("hand-made"),
    }
    found: dict[str, dict[str, Any]] = {
        "lost against large/large (share of mAP)": _aim(lost, 0.016, met=lost <= 0.016),
        "times fewer FLOPs": _aim(cheaper, 20, met=cheaper >= 20),
        "M(q,g) - M(q,q), the compatibility rule": _aim(
            best["query/large"] - best["query/query"],
            0,
            met=best["query/large"] > best["query/query"],
        ),
    }
    for other, value in others.items():
        ahead = best["query/large"] - value
        met = ahead >= 0 if other in ("r1", "r2") else ahead > 0
        found[f"mAP of r3 - {other}"] = _aim(ahead, 0, met=met)
    return {f"{name}: {key}": value for key, value in found.items()}


def _aim(value: float, aim: float, *, met: bool) -> dict[str, Any]:
    return {"value": round(value, 4), "aim": aim, "met": met}


def _mean(values: Any) -> float:
    return round(float(np.mean(list(values))), 4)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="Omniglot, tiny, under a minute")
    parser.add_argument("--data", type=Path, help="CIFAR-100, or a folder that holds cifar100")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=3, help="how many, in the full run")
    parser.add_argument("--only", choices=["omniglot", "cifar100"], help="one data set only")
    parser.add_argument(
        "--pairs", action="store_true", help="what a search gives by default, at 1/20 and 1/40"
    )
    parser.add_argument(
        "--as-long",
        action="store_true",
        help="with --pairs: train the large model for as long as the kept small one",
    )
    parser.add_argument("--device", default="cpu", help="cuda: ResNet-18 on CIFAR-100")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "hotfill-heterogeneous",
        help="folder for checkpoints; the same call again goes on from them",
    )
    options = parser.parse_args(arguments)
    seeds = list(range(options.seed, options.seed + (1 if options.quick else options.seeds)))
    torch.set_num_threads(1 if options.device == "cpu" else 8)

    folder = options.data
    if folder is not None and (folder / "cifar100").is_dir():
        folder = folder / "cifar100"
    plans: list[Plan]
    if options.device != "cpu":
        if folder is None:
            parser.error("--device needs --data, the folder of CIFAR-100")
        plans = [on_a_gpu(options.device)]
    elif options.quick:
        plans = [QUICK]
    else:
        wanted = {"omniglot": OMNIGLOT} if folder is None else FULL
        plans = [plan for name, plan in wanted.items() if options.only in (None, name)]
        if not plans:
            parser.error("CIFAR-100 needs --data, its folder")

    if options.pairs:
        chosen = as_long(plans[-1]) if options.as_long else plans[-1]
        results = None if options.quick else HERE / "results" / f"pairs-{chosen.name}.json"
        shares = SHARES[:1] if options.quick else SHARES
        with tempfile.TemporaryDirectory() as scratch:
            work = Path(scratch) if options.quick else options.work
            rows = run_pairs(chosen, task_of(chosen, folder), seeds, shares, results, work)
        print(
            json.dumps(
                {
                    "benchmark": BENCHMARK,
                    "figures": table(rows),
                    "aims": aims_of_pairs(rows, shares),
                }
            )
        )
        return

    figures, met = {}, {}
    for plan in plans:
        task = task_of(plan, folder)
        if options.quick:
            with tempfile.TemporaryDirectory() as work:
                rows = run_plan(plan, task, seeds, None, Path(work))
        else:
            results = HERE / "results" / f"{plan.name}.json"
            rows = run_plan(plan, task, seeds, results, options.work)
        figures[plan.name] = table(rows)
        met |= aims(plan.name, figures[plan.name])
    print(json.dumps({"benchmark": BENCHMARK, "figures": figures, "aims": met}))


if __name__ == "__main__":
    main()
