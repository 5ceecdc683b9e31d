"""How good is a half-backfilled gallery? All methods and baselines side by side.

    python benchmarks/mixed_quality/run.py [--quick] [--data DIR] [--texts DIR] [--seeds N]

--data: the folder of all data sets (cifar100 is read from it). --texts: what `texts.py` wrote.
Without them, and with --quick, only Omniglot and digits run, which need nothing. A run measures
what is missing in the results, method by method, so it goes on where another one stopped; `--again`
measures some methods anew.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.mixed_quality.aims import conclude  # noqa: E402
from benchmarks.mixed_quality.backfill_orders import backfill_order  # noqa: E402
from benchmarks.mixed_quality.methods import DEFAULT, LOGGED, METHODS  # noqa: E402
from benchmarks.mixed_quality.pairs import all_pairs  # noqa: E402
from benchmarks.mixed_quality.query_log import query_weights  # noqa: E402
from benchmarks.mixed_quality.results import cell_of, load, save, with_measured  # noqa: E402
from benchmarks.mixed_quality.workbench import Workbench  # noqa: E402
from hotfill.metrics import BackfillCurve  # noqa: E402
from hotfill.rehearsal.backfill_evaluation import (  # noqa: E402
    PerQuery,
    Stages,
    evaluate_backfill,
    evaluate_side,
    evenly,
)
from hotfill.rehearsal.sample import cosines  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "mixed_quality.json"
FIGURES = ("map", "hit_rate@1", "ndcg@10")
QUICK_PAIRS = ("digits", "omniglot")
QUICK_QUERIES, QUICK_POINTS, POINTS = 100, 5, 11
NOISE = 2.0  # standard errors of a paired difference: a smaller fall is not a dip
LOG = f"{DEFAULT}, made-up log"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--pairs", nargs="+")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--part", choices=["light", "heavy"], help="only what trains, or does not")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, metavar="METHOD", help="only these"
    )
    parser.add_argument("--again", nargs="+", default=[], help="methods to measure anew")
    parser.add_argument("--minutes", type=float, help="begin nothing new after this many")
    parser.add_argument("--out", type=Path, help="another results file")
    arguments = parser.parse_args()
    makers = all_pairs(arguments.data, arguments.texts)
    began = time.perf_counter()
    if arguments.quick:
        cells: list[dict] = []
        for name in QUICK_PAIRS:
            bench = Workbench(makers[name](arguments.seed), arguments.seed)
            for facts, methods in measure(bench, _wanted(None, "light"), quick=True):
                cells = with_measured(cells, facts, methods)
        print(json.dumps({"benchmark": "mixed_quality", **conclude(cells)}))
        return
    out = arguments.out or RESULTS
    deadline = began + 60 * arguments.minutes if arguments.minutes else float("inf")
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    names = arguments.pairs or list(makers)
    for part in [arguments.part] if arguments.part else ["light", "heavy"]:
        for seed, name in ((seed, name) for seed in seeds for name in names):
            wanted = [
                title
                for title in _wanted(cell_of(load(out), name, seed), part, seed, arguments.again)
                if arguments.methods is None or title in arguments.methods
            ]
            if not wanted or time.perf_counter() > deadline:
                continue
            bench = Workbench(makers[name](seed), seed)
            started = time.perf_counter()
            for facts, methods in measure(bench, wanted, quick=False):
                save(out, with_measured(load(out), facts, methods))
                if time.perf_counter() > deadline:
                    break
            seconds = time.perf_counter() - started
            print(f"{name}, seed {seed}, {part}: {seconds:.0f} s", file=sys.stderr)
    print(json.dumps({"benchmark": "mixed_quality", **conclude(load(out))}))


def _wanted(cell: dict | None, part: str, seed: int = 0, again: Sequence[str] = ()) -> list[str]:
    """The methods to measure in a cell: those that it lacks, and those asked for anew."""
    there = cell["methods"] if cell is not None else {}
    return [
        title
        for title, method in METHODS.items()
        if method.heavy == (part == "heavy")
        and not (method.few_seeds and seed > 0)
        and (title in again or not all(f"{title} | {order}" in there for order in method.orders))
    ]


def measure(bench: Workbench, wanted: list[str], *, quick: bool) -> Iterator[tuple[dict, dict]]:
    """Measure some methods on one pair with one seed: what the cell is about, and the figures."""
    sample, relevance, exclude = bench.sample, bench.pair.relevance, bench.pair.exclude
    weights = None if quick else query_weights(bench.pair, bench.seed)
    if quick:
        relevance = relevance.take(slice(0, QUICK_QUERIES))
        exclude = None if exclude is None else exclude[:QUICK_QUERIES]
    old, new = (
        evaluate_side(
            lambda rows, model=model: cosines(model.queries.read(rows), model.gallery),
            relevance,
            exclude=exclude,
        )
        for model in (sample.old, sample.new)
    )
    facts = {
        "pair": bench.pair.name,
        "seed": bench.seed,
        "items": len(sample.gallery),
        "queries": len(old.right),
        "fit_pairs": len(sample.old.fit),
        "dimensions": [sample.old.model.dimension, sample.new.model.dimension],
        "old": old.mean.to_dict(),
        "new": new.mean.to_dict(),
    }
    shares = evenly(QUICK_POINTS if quick else POINTS)
    order = cache(partial(backfill_order, bench))
    for title in wanted:
        method = METHODS[title]
        gallery = None if quick and method.few_seeds else method.make(bench)
        if gallery is None:
            continue
        names = {*method.orders, *(LOGGED if title == DEFAULT and weights is not None else ())}
        orders = {name: order(name) for name in sorted(names)}
        stages = evaluate_backfill(gallery, relevance, orders, shares, exclude=exclude)
        about = {
            "ours": method.ours,
            "labels": gallery.labels_used,
            "fit_seconds": round(gallery.fit_seconds, 2),
            "vectors_rewritten": gallery.vectors_rewritten,
            "query_encodings": 2 if gallery.queries == "both" else 1,
        }
        methods = {
            f"{title} | {order}": {**about, **figures_of(stages[order], old, new)}
            for order in method.orders
        }
        if title == DEFAULT and weights is not None:
            for order in LOGGED:
                logged = figures_under_log(stages[order], old, new, weights)
                methods[f"{LOG} | {order}"] = {**about, **logged}
        yield facts, methods


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


def figures_under_log(
    stages: Stages, old: PerQuery, new: PerQuery, weights: np.ndarray
) -> dict[str, object]:
    """The map curve where queries come as often as in the made-up log."""

    def weighed(point: PerQuery) -> float:
        return float(point.average_precision @ weights)

    values = tuple(weighed(point) for point in stages.points)
    curve = BackfillCurve(stages.shares, values, weighed(old), weighed(new))
    return {
        "gain": curve.gain,
        "floor": curve.floor,
        "dips": curve.dips,
        "map": [round(value, 5) for value in values],
        "old": round(curve.old, 5),
        "new": round(curve.new, 5),
    }


def dips_beyond_noise(stages: Stages) -> int:
    """Count falls of map by more than two standard errors of the paired per-query difference."""
    dips = 0
    for before, after in zip(stages.points, stages.points[1:], strict=False):
        falls = before.average_precision - after.average_precision
        dips += bool(falls.mean() > NOISE * falls.std() / np.sqrt(len(falls)) + 1e-6)
    return dips


if __name__ == "__main__":
    main()
