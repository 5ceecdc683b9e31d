"""Do the trained maps behave as the papers say? All methods of section 7, side by side on toys.

    python benchmarks/mixed_toy/run.py [--quick] [--seeds N] [--minutes M]

Cells already in the results file are kept, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.mixed_toy.methods import LABEL_FREE, LABELLED, WAYS, Bench  # noqa: E402
from benchmarks.mixed_toy.noted import expected  # noqa: E402
from benchmarks.mixed_toy.toys import digits, synthetic  # noqa: E402
from hotfill.lab.training.transforms import MapSettings  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "mixed_toy.json"
TOLERANCE = 0.05
SMALL = MapSettings(epochs=30, batch=96, learning_rate=2e-3)  # for a toy of 672 training items
STRESS = ("RM-naive", "RQT + MCL (psi only)", "RQT + MCL (psi, rho)")  # with the old space x2


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one small toy, under a minute")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="not used: everything comes with the project")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    deadline = time.monotonic() + 60 * arguments.minutes
    seeds = range(arguments.seed, arguments.seed + (1 if arguments.quick else arguments.seeds))
    if arguments.quick:
        cells = toy_cells("synthetic", 0, [], ways=("normalised",), quick=True)
        print(json.dumps({"benchmark": "mixed_toy", **conclude(cells)}))
        return
    cells = json.loads(RESULTS.read_text())["cells"] if RESULTS.exists() else []
    complete = True
    try:
        for seed in seeds:
            cells = toy_cells("synthetic", seed, cells, ways=tuple(WAYS), deadline=deadline)
            cells = toy_cells("digits", seed, cells, ways=("normalised",), deadline=deadline)
    except OutOfTimeError:
        complete = False
        cells = json.loads(RESULTS.read_text())["cells"]
    print(json.dumps({"benchmark": "mixed_toy", "complete": complete, **conclude(cells)}))


class OutOfTimeError(Exception):
    """The minutes given are over; what is done is in the results file."""


def toy_cells(
    name: str,
    seed: int,
    cells: list[dict],
    *,
    ways: tuple[str, ...],
    quick: bool = False,
    deadline: float = math.inf,
) -> list[dict]:
    """Measure the cells of one toy that are missing. Raises OutOfTimeError between two of them."""
    wanted = [
        (way, method)
        for way in ways
        for method in {**LABELLED, **LABEL_FREE}
        if (way != "raw l2, old x2" or method in STRESS)
        and (way in ("normalised", "raw l2, old x0.5") or method in LABELLED)
        and (method != "SLERP" or WAYS[way].unit)
        and (not quick or method in STRESS)
    ]
    done = {(c["toy"], c["way"], c["method"], c["seed"]) for c in cells}
    missing = [cell for cell in wanted if (name, *cell, seed) not in done]
    if not missing:
        return cells
    small = {"points": 40} if quick else {}
    toy = synthetic(seed, **small) if name == "synthetic" else digits(seed)
    for way, method in missing:
        if time.monotonic() > deadline:
            raise OutOfTimeError
        began = time.perf_counter()
        bench = Bench(toy, WAYS[way], seed, settings=SMALL if quick else None)
        curves = {**LABELLED, **LABEL_FREE}[method](bench)
        key = {"toy": name, "way": way, "method": method, "seed": seed}
        cells = [*cells, {**key, "curves": curves}]
        seconds = time.perf_counter() - began
        shown = " ".join(f"{o} {c['gain_map']:.2f}" for o, c in curves.items())
        print(f"{name}, {way}, {method}, seed {seed}: {shown} ({seconds:.0f} s)", file=sys.stderr)
        if not quick:
            _write(cells)
    return cells


def conclude(cells: list[dict]) -> dict:
    """Means over seeds, and how they stand against section 7's table."""
    figures: dict[str, dict] = {}
    for toy, way, method in dict.fromkeys((c["toy"], c["way"], c["method"]) for c in cells):
        some = [c for c in cells if (c["toy"], c["way"], c["method"]) == (toy, way, method)]
        for order in some[0]["curves"]:
            curves = [c["curves"][order] for c in some]
            gains = [curve["gain_map"] for curve in curves]
            figures.setdefault(f"{toy}; {way}", {})[f"{method}; {order}"] = {
                "gain_map": round(float(np.mean(gains)), 3),
                "spread": round(float(np.ptp(gains)), 3),
                "gain_hit_rate@1": _mean(curves, "gain_hit_rate@1"),
                "dips": _mean(curves, "dips"),
                "floor": _mean(curves, "floor"),
                "end": _mean(curves, "end"),
                "fit_seconds": _mean(curves, "fit_seconds"),
                "seeds": len(curves),
            }
    aims = {}
    for place, methods in figures.items():
        for method, cell in methods.items():
            wanted = expected(place, method)
            if wanted is not None:
                aims[f"{place}: {method}, Gain(mAP) as noted"] = {
                    "value": cell["gain_map"],
                    "aim": wanted,
                    "met": abs(cell["gain_map"] - wanted) <= TOLERANCE,
                }
        if place.startswith("synthetic") and "RQT + MCL (psi, rho); random" in methods:
            cell = methods["RQT + MCL (psi, rho); random"]
            aims[f"{place}: joint MCL + rho"] = {
                "value": cell["gain_map"],
                "aim": 0.9,
                "met": cell["gain_map"] >= 0.9 and cell["dips"] == 0,
            }
    return {"figures": figures, "aims": aims}


def _mean(curves: list[dict], name: str) -> float | None:
    values = [curve[name] for curve in curves if curve.get(name) is not None]
    return round(float(np.mean(values)), 3) if values else None


def _write(cells: list[dict]) -> None:
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    draft = RESULTS.with_suffix(".draft")
    draft.write_text(json.dumps({"machine": machine, "cells": cells}, indent=1) + "\n")
    draft.replace(RESULTS)


if __name__ == "__main__":
    main()
