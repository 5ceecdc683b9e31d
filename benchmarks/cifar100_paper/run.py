"""The papers' CIFAR-100 ladder: ResNet-50 with 50, then 100 classes; FCT, FastFill, SEO's steps.

    python benchmarks/cifar100_paper/run.py --data DIR --device cuda --minutes 7 --work WORK

Call it again until it says "complete": true; each call goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.cifar100_paper.backbone import Recipe  # noqa: E402
from benchmarks.cifar100_paper.data import Data, Images, load  # noqa: E402
from benchmarks.cifar100_paper.ladder import Plan, climb  # noqa: E402
from benchmarks.cifar100_paper.resnet import Shape  # noqa: E402
from hotfill.lab.training.transforms import MapSettings  # noqa: E402

BENCHMARK = "cifar100_paper"
RESULTS = Path(__file__).parent / "results" / "cifar100_paper.json"
TOLERANCE = 0.02

PUBLISHED: dict[str, tuple[str, str, str, float]] = {
    # name: (way; method, order, figure, value). Single runs on all 500 pictures a class.
    "old model, CMC-1": ("raw l2; RM-naive", "random", "old_hit_rate@1", 0.342),
    "old model, mAP": ("raw l2; RM-naive", "random", "old", 0.165),
    "new model, CMC-1": ("raw l2; RM-naive", "random", "new_hit_rate@1", 0.565),
    "new model, mAP": ("raw l2; RM-naive", "random", "new", 0.363),
    "FCT without backfilling, CMC-1": ("raw l2; FCT h", "random", "first_hit_rate@1", 0.472),
    "FCT without backfilling, mAP": ("raw l2; FCT h", "random", "first_map", 0.258),
    "FastFill, area of CMC-1": ("raw l2; FastFill", "sigma", "auc_m_hit_rate@1", 0.536),
    "FastFill, area of mAP": ("raw l2; FastFill", "sigma", "auc_m_map", 0.325),
}

TINY = Plan(
    recipe=Recipe(
        epochs=2,
        warm_up_epochs=1,
        batch=32,
        learning_rate=0.05,
        size=32,
        classes=10,
        shape=Shape(dimension=16, depths=(1, 1, 1, 1), width=8),
    ),
    forward=MapSettings(epochs=4, batch=64),
    contrast=MapSettings(epochs=4, batch=64),
    hidden=32,
    forward_hidden=32,
)
"""Every step of the ladder in seconds, on made-up pictures: says nothing about quality."""


def made_up(*, train: int = 12, test: int = 5, classes: int = 10, seed: int = 0) -> Data:
    """Pictures of one colour pattern per class, with noise."""
    random = np.random.default_rng(seed)
    patterns = random.integers(0, 256, (classes, 3, 4, 4)).repeat(8, axis=2).repeat(8, axis=3)

    def some(each: int) -> Images:
        labels = np.repeat(np.arange(classes), each)
        noise = random.integers(-60, 61, (len(labels), 3, 32, 32))
        return Images(np.clip(patterns[labels] + noise, 0, 255).astype(np.uint8), labels)

    return Data(some(train), some(test))


def figures_of(curves: dict[str, dict]) -> dict[str, dict]:
    """Add the ends of each curve, and leave the points to the results file."""
    found: dict[str, dict] = {}
    for key, orders in curves.items():
        for order, curve in orders.items():
            numbers = {name: value for name, value in curve.items() if not isinstance(value, list)}
            found[f"{key}; {order}"] = {
                **numbers,
                "first_map": curve["map"][0],
                "first_hit_rate@1": curve["hit_rate@1"][0],
            }
    naive = curves.get("raw l2; RM-naive")
    if naive is not None:
        hits = naive["random"]["hit_rate@1"]
        found["raw l2; RM-naive; random"] |= {
            "old_hit_rate@1": hits[0],
            "new_hit_rate@1": hits[-1],
        }
    return found


def aims_of(figures: dict[str, dict]) -> dict[str, dict]:
    """Against the published figures, and section 8's order of the ladder."""
    aims = {}
    for name, (place, order, figure, published) in PUBLISHED.items():
        cell = figures.get(f"{place}; {order}")
        if cell is not None:
            value = cell[figure]
            met = abs(value - published) <= TOLERANCE
            aims[name] = {"value": round(value, 4), "aim": published, "met": met}

    def area(method: str, order: str = "random", way: str = "normalised") -> float | None:
        return figures.get(f"{way}; {method}; {order}", {}).get("auc_m_map")

    ladder = (
        "RQT",
        "RQT + CL_old",
        "RQT + independent CL (psi, rho)",
        "RQT + MCL (psi, rho)",
    )
    areas = [area(method) for method in ladder]
    if None not in areas:
        steps = [round(b - a, 4) for a, b in pairwise(areas)]
        aims["SEO's ladder rises (smallest step of mAP area)"] = {
            "value": min(steps),
            "aim": 0.0,
            "met": min(steps) >= -0.002,
        }
    joint = figures.get("normalised; RQT + MCL (psi, rho); random")
    if joint is not None:
        aims["dips of joint + rho"] = {
            "value": joint["dips"],
            "aim": 0,
            "met": joint["dips"] == 0,
        }
    sigma, drawn = (area("FastFill", order, "raw l2") for order in ("sigma", "random"))
    if sigma is not None and drawn is not None:
        ahead = round(sigma - drawn, 4)
        aims["FastFill: sigma order above random"] = {"value": ahead, "aim": 0.0, "met": ahead > 0}
    return aims


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny network, made-up pictures")
    parser.add_argument("--data", type=Path, help="CIFAR-100, or a folder that holds cifar100")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cuda for anything but --quick")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long")
    parser.add_argument("--epochs", type=int, default=100, help="of the backbones")
    parser.add_argument("--size", type=int, default=224, help="pictures are resized to this")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "hotfill-cifar100-paper"
    )
    options = parser.parse_args(arguments)
    deadline = time.monotonic() + 60 * options.minutes
    if options.device == "cpu":
        torch.set_num_threads(1)
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            curves, complete = climb(
                TINY,
                made_up(),
                seed=options.seed,
                device=options.device,
                work=Path(folder),
                deadline=deadline,
            )
    else:
        if options.data is None:
            parser.error("give --data, the folder of CIFAR-100, or --quick")
        folder = options.data
        data = load(folder / "cifar100" if (folder / "cifar100").is_dir() else folder)
        maps = {"device": options.device, "seed": options.seed}
        plan = Plan(
            recipe=Recipe(epochs=options.epochs, size=options.size),
            forward=MapSettings(epochs=80, **maps),
            contrast=MapSettings(**maps),
        )
        curves, complete = climb(
            plan,
            data,
            seed=options.seed,
            device=options.device,
            work=options.work,
            deadline=deadline,
        )
        if complete:
            _write(options, curves)
    figures = figures_of(curves)
    aims = {} if options.quick else aims_of(figures)
    print(
        json.dumps({"benchmark": BENCHMARK, "complete": complete, "figures": figures, "aims": aims})
    )


def _write(options: argparse.Namespace, curves: dict[str, dict]) -> None:
    content = {
        "benchmark": BENCHMARK,
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "seed": options.seed,
        "epochs": options.epochs,
        "size": options.size,
        "training pictures a class": 300,
        "curves": curves,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
