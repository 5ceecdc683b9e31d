"""Which reward tells a good query network? Every network of a small space, trained once alone.

    python benchmarks/search_space/run.py [--quick] [--seed N] [--networks N] [--work DIR]

About 64 networks of nearly equal FLOPs are rated by one super-network, as a search would do, and
then each is trained by itself. Every network is a data point: Kendall's tau of each reward with the
true M(q, g), and thousands of searches by look-up. What is in the results file is not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import scipy
import torch
from scipy.stats import kendalltau

from benchmarks.compatible_training.data import omniglot
from benchmarks.heterogeneous.experiment import SCORE, Experiment
from benchmarks.heterogeneous.plans import OMNIGLOT, QUICK, Plan
from benchmarks.rows import Row, read_rows, write_rows
from hotfill.lab.architecture_search.evolution import Measured, reward
from hotfill.lab.architecture_search.gallery_model import GalleryModel
from hotfill.lab.architecture_search.network import Network, module_flops
from hotfill.lab.architecture_search.search import (
    agreeing_recipe,
    candidate_measure,
    train_super_network,
)
from hotfill.lab.architecture_search.space import Architecture, Budget, flops
from hotfill.lab.losses.references import from_head
from hotfill.lab.training import TrainingSettings
from hotfill.lab.training.items import embed
from hotfill.types import ModelId

RESULTS = Path(__file__).resolve().parent / "results" / "search_space.json"
REWARDS = ("r1", "r2", "r3")
NEARLY_EQUAL = 0.97  # of the budget, at least
SAMPLES, SEARCHES, LOOKED_AT = 2000, 5000, 16

_SHORT = TrainingSettings(epochs=12, batch=64)
TABLE = replace(
    OMNIGLOT,
    name="search_space",
    classes=240,
    large=TrainingSettings(epochs=24, batch=64),
    query=_SHORT,
    super_training=TrainingSettings(epochs=24, batch=64),
    held_out_classes=60,
)
SMALL = replace(QUICK, name="search_space-quick", query=TrainingSettings(epochs=2, batch=32))


class Table(Experiment):
    """The networks of one space: what a super-network says of each, and what it is worth."""

    def networks(self, count: int, done: set[Architecture]) -> Iterator[Row]:
        """Rate and train the first `count` networks drawn, but for those that are done."""
        large, head = self._large()
        cost = module_flops(large, channels=self.channels, side=self.side)
        most = Budget(self.space, int(cost * self.plan.share))
        budget = Budget(self.space, most.flops_at_most, int(NEARLY_EQUAL * most.spendable))
        gallery = embed(large, self.gallery)
        model = GalleryModel(
            ModelId("large", str(self.seed), self.plan.dimension),
            from_head(head.vectors, rows=torch.arange(len(self.train.classes))),
            SCORE,
        )
        plan = self._search_plan(most)
        network = train_super_network(
            plan, model, self.train, folder=self.work / "super_network", augment=self.task.augment
        )
        measure = candidate_measure(plan, network, self.train, self._validation(large, model))
        for number, architecture in enumerate(drawn(budget, count)):
            if architecture in done:
                continue
            rated = measure(architecture)
            alone = self._query(
                Network(self.space, architecture), lambda: agreeing_recipe(model), f"net-{number}"
            )
            queries, own = embed(alone, self.queries), embed(alone, self.gallery)
            yield {
                **architecture.to_dict(),
                "flops": flops(self.space, architecture),
                "rated": asdict(rated),
                "query/query": self._quality(queries, own),
                "query/large": self._quality(queries, gallery),
            }


def drawn(budget: Budget, count: int) -> list[Architecture]:
    """The same networks in every run: all different, in the order drawn."""
    rng = np.random.default_rng(64)
    found: dict[Architecture, None] = {}
    while len(found) < count:
        found[budget.sample(rng)] = None
    return list(found)


def conclude(rows: list[Row]) -> dict[str, Any]:
    """Taus with their intervals, and what searches by each reward find."""
    true = np.array([row["query/large"]["map"] for row in rows])
    rated = {
        name: np.array([reward(name, Measured(**row["rated"])) for row in rows]) for name in REWARDS
    }
    rng = np.random.default_rng(0)
    again = rng.integers(len(rows), size=(SAMPLES, len(rows)))
    taus = {
        name: np.array([kendalltau(values[some], true[some]).statistic for some in again])
        for name, values in rated.items()
    }
    tau = {
        name: {
            "tau": round(float(kendalltau(values, true).statistic), 3),
            **_interval(taus[name]),
        }
        for name, values in rated.items()
    }
    looked_at = np.stack(
        [rng.permutation(len(rows))[: min(LOOKED_AT, len(rows))] for _ in range(SEARCHES)]
    )
    lost = {
        name: true[looked_at].max(axis=1)
        - true[looked_at[np.arange(len(looked_at)), values[looked_at].argmax(axis=1)]]
        for name, values in rated.items()
    }
    lost["chance"] = true[looked_at].max(axis=1) - true[looked_at[:, 0]]
    apart = {f"r3 - {name}": taus["r3"] - taus[name] for name in ("r1", "r2")}
    figures = {
        "networks": len(rows),
        "M(q,g)": {
            "least": float(true.min()),
            "mean": round(float(true.mean()), 4),
            "most": float(true.max()),
        },
        "tau": tau,
        "tau between": {name: _interval(values) for name, values in apart.items()},
        "lost against the best of 16 looked at": {
            name: round(float(values.mean()), 4) for name, values in lost.items()
        },
    }
    aims = {
        f"tau of {name} beyond chance (lower end of its interval)": {
            "value": tau[name]["low"],
            "aim": 0,
            "met": tau[name]["low"] > 0,
        }
        for name in REWARDS
    }
    for name in ("r1", "r2"):
        low = _interval(apart[f"r3 - {name}"])["low"]
        aims[f"tau of r3 above that of {name} (lower end)"] = {
            "value": low,
            "aim": 0,
            "met": low > 0,
        }
    return {"figures": figures, "aims": aims}


def _interval(values: np.ndarray) -> dict[str, float]:
    low, high = np.nanquantile(values, (0.025, 0.975))
    return {"low": round(float(low), 3), "high": round(float(high), 3)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="four networks, under a minute")
    parser.add_argument("--data", type=Path, help="not used: Omniglot comes with the project")
    parser.add_argument("--seed", type=int, default=0, help="of every training")
    parser.add_argument("--networks", type=int, default=64)
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "hotfill-search-space",
        help="for checkpoints; the same call again goes on from them",
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    plan: Plan = SMALL if options.quick else TABLE
    count = 4 if options.quick else options.networks
    task = omniglot(classes=plan.classes, test_classes=plan.test_classes)
    identity = json.loads(json.dumps(asdict(plan) | {"seed": options.seed}))
    results = None if options.quick else RESULTS
    rows = read_rows(results, identity)
    done = {Architecture.from_dict(row) for row in rows}
    with tempfile.TemporaryDirectory() as place:
        table = Table(plan, task, options.seed, Path(place) if options.quick else options.work)
        for row in table.networks(count, done):
            rows.append(row)
            print(f"{len(rows)}: {row['rated']}, true {row['query/large']}", file=sys.stderr)
            if results is not None:
                write_rows(results, "search_space", identity, rows, torch, np, scipy)
    print(json.dumps({"benchmark": "search_space", **conclude(rows)}))


if __name__ == "__main__":
    main()
