"""How good does search stay when models follow one another and nothing is embedded again?

    python benchmarks/generations/run.py --data DIR [--texts TEXTS] [--only PART] [--quick]

Independent models joined by label-free maps, heads trained to be compatible with the one before,
codes of three versions in one index; budgets between nothing and everything. See README.md. What
is in the results is not measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.generations import codes, cost, data, heads, label_free  # noqa: E402
from benchmarks.generations.measure import way  # noqa: E402
from benchmarks.rows import Row, read_rows, write_rows  # noqa: E402

BENCHMARK = "generations"
RESULTS = Path(__file__).parent / "results"
ENOUGH, ENOUGH_LATER, ENOUGH_AT_20 = 0.8, 0.7, 0.9
"""Shares of the way from old to new: after one upgrade, after three, with a fifth embedded."""
TEXTS = ("clinc150", "banking77")
"""Sets of questions, of 150 intents and 77."""

Batches = Iterator[list[Row]]
"""Rows that belong together: none of them is in the results before all of them are."""


@dataclass(frozen=True)
class Folders:
    """data: all data sets. texts: what `mixed_quality/texts.py` made; without, no text chains."""

    data: Path
    texts: Path | None = None

    def chain(self, unit: str, seed: int, classes: int) -> data.Chain:
        """Read the models of one set."""
        if unit not in TEXTS:
            return data.pictures(self.data / unit, seed, classes)
        if self.texts is None:
            raise SystemExit(f"{unit} needs --texts: what mixed_quality/texts.py made")
        return data.texts(self.data / unit, self.texts / f"{unit}.npz", seed, classes)


def measure_label_free(
    folders: Folders, unit: str, seed: int, done: list[Row], classes: int
) -> Batches:
    """Measure one chain, part by part: its rows share the maps."""
    there = {row["part"] for row in done}
    missing = [part for part in label_free.PARTS if part not in there]
    if not missing:
        return
    bench = label_free.Bench(folders.chain(unit, seed, classes), seed)
    for part in missing:
        rows = label_free.PARTS[part](bench)
        yield [{"chain": unit, "seed": seed, "part": part, **row} for row in rows]


def measure_heads(folders: Folders, unit: str, seed: int, done: list[Row], classes: int) -> Batches:
    """Measure one kind of growth, one recipe after the other."""
    there = {(row["recipe"], row["weight"]) for row in done}
    missing = [each for each in heads.planned(unit) if each not in there]
    if missing:
        chain = data.features(folders.data / "cifar100", seed, 2 * heads.TRAIN, classes)
        experiment = heads.Experiment(chain, unit, seed)
        for recipe, weight in missing:
            yield [experiment.row(recipe, weight)]


def measure_codes(folders: Folders, unit: str, seed: int, done: list[Row], classes: int) -> Batches:
    """Measure one chain: one row."""
    if not done:
        yield [{"seed": seed, **codes.row(folders.chain(unit, seed, classes), seed)}]


def measure_cost(folders: Folders, unit: str, seed: int, done: list[Row], classes: int) -> Batches:
    """Measure the search over three origins: one row, of made-up vectors."""
    if not done:
        yield [{"seed": seed, **cost.row(seed, cost.ITEMS if classes > QUICK_CLASSES else 30_000)}]


@dataclass(frozen=True)
class Part:
    """units: what is measured, and kept in a file of its own, by seed. plan: of every file."""

    measure: Callable[[Folders, str, int, list[Row], int], Batches]
    units: tuple[str, ...]
    plan: dict[str, Any]

    def results(self, name: str, unit: str, seed: int) -> Path:
        """Return the file."""
        return RESULTS / f"{name}-{unit}-{seed}.json"


PARTS = {
    "label_free": Part(
        measure_label_free,
        ("cifar100", *TEXTS),
        {"pairs": label_free.PAIRS, "budgets": list(label_free.BUDGETS), "classes": 100},
    ),
    "heads": Part(
        measure_heads,
        heads.EXTENDED,
        {"train": heads.TRAIN, "pairs": heads.PAIRS, "classes": 100},
    ),
    "codes": Part(measure_codes, ("cifar100",), {"bits": codes.BITS, "classes": 100}),
    "cost": Part(measure_cost, ("clusters",), {"items": cost.ITEMS, "classes": 100}),
}
QUICK_CLASSES, QUICK_BATCHES = 20, 3


def kept(share: float | None) -> float:
    """Return a share of the way that counts as 1 where it is more; 1 where there is no way."""
    return 1.0 if share is None else min(share, 1.0)


def mean(values: list[float]) -> float | None:
    """None of nothing."""
    return round(float(np.mean(values)), 4) if values else None


def at_20(row: Row, by: str) -> float:
    """The share of the way with a fifth of the items embedded."""
    return kept(next(point[by] for point in row["points"] if point["budget"] == 0.2))


def hit_way(now: Row, of: Row) -> float:
    """The share of the way by the first hit; of: a row without contents, of the same models."""
    old, new = of["old"]["hit_rate@1"], of["new"]["hit_rate@1"]
    return kept(way(now["hit_rate@1"], old=old, new=new))


def best_order_by_hits(budgets: list[Row], alone: list[Row]) -> tuple[str, float | None]:
    """The order that serves the first hit best at a budget of 20 %, and its mean."""
    ends = {(row["from"], row["to"], row["seed"]): row for row in alone}
    found = {
        order: mean(
            [
                hit_way(point, ends[row["from"], row["to"], row["seed"]])
                for row in budgets
                if row["order"] == order
                for point in row["points"]
                if point["budget"] == 0.2
            ]
        )
        for order in label_free.ORDERS
    }
    return max(found.items(), key=lambda pair: pair[1] or 0)


def best_order(rows: list[Row], by: str) -> dict[str, float | None]:
    """The mean at a budget of 20 %, by order, best first."""
    found = {
        order: mean([at_20(row, by) for row in rows if row["order"] == order])
        for order in label_free.ORDERS
    }
    return dict(sorted(found.items(), key=lambda pair: -(pair[1] or 0)))


def gallery_of(recipe: str) -> str:
    """The gallery that a recipe is meant to be searched in."""
    return "its map" if recipe in heads.UPGRADING else "as it is"


def figures(found: dict[str, list[Row]]) -> dict[str, Any]:
    """Means over the seeds."""
    made: dict[str, Any] = {}
    rows = found.get("label_free", [])
    for chain in dict.fromkeys(row["chain"] for row in rows):
        own = [row for row in rows if row["chain"] == chain]
        alone = [row for row in own if row["part"] == "without contents"]
        made[chain] = {
            "way by upgrades": {
                f"{upgrades}, {by}": mean(
                    [
                        kept(row["ways"][by]["way"])
                        for row in alone
                        if row["upgrades"] == upgrades and by in row["ways"]
                    ]
                )
                for upgrades in sorted({row["upgrades"] for row in alone})
                for by in ("kept", "composed", "fitted anew")
            },
            "way at 20 %": best_order([row for row in own if row["part"] == "budgets"], "way"),
        }
    for row in found.get("heads", []):
        title = row["recipe"] if row["weight"] is None else f"bict, weight {row['weight']:g}"
        own = [
            one
            for one in found["heads"]
            if all(one[key] == row[key] for key in ("kind", "recipe", "weight"))
        ]
        made.setdefault(row["kind"], {})[title] = [
            {
                name: mean([one["generations"][g]["galleries"][name]["map"] for one in own])
                for name in row["generations"][g]["galleries"]
            }
            for g in (0, 1)
        ]
    if found.get("codes"):
        made["codes"] = {
            cell: mean([row["cells"][cell]["map"] for row in found["codes"]])
            for cell in found["codes"][0]["cells"]
        }
    return made


def aims(found: dict[str, list[Row]]) -> dict[str, Any]:
    """What was wanted of ways without contents, and BiCT's two claims."""
    made: dict[str, Any] = {}

    def aim(name: str, value: float | None, wanted: float) -> None:
        if value is not None:
            made[name] = {"value": value, "aim": wanted, "met": value >= wanted}

    rows = found.get("label_free", [])
    for chain in dict.fromkeys(row["chain"] for row in rows):
        own = [row for row in rows if row["chain"] == chain]
        alone = [row for row in own if row["part"] == "without contents"]
        budgets = [row for row in own if row["part"] == "budgets"]
        direct = [row["ways"]["kept"] for row in alone]
        most = max(row["upgrades"] for row in alone)
        later = [row["ways"]["composed"] for row in alone if row["upgrades"] == most]
        aim(
            f"{chain}: share of the way by one map, mean of the pairs",
            mean([kept(one["way"]) for one in direct]),
            ENOUGH,
        )
        aim(
            f"{chain}: pairs and seeds not below old",
            mean([one["above old"]["mean"] >= 0 for one in direct]),
            1.0,
        )
        aim(
            f"{chain}: share of the way by {most} maps in a row",
            mean([kept(one["way"]) for one in later]),
            ENOUGH_LATER,
        )
        for by in ("way", "way by traffic"):
            order, value = next(iter(best_order(budgets, by).items()))
            aim(f"{chain}: {by}, a fifth embedded, by {order}", value, ENOUGH_AT_20)
        aim(
            f"{chain}: the same of hit rate@1, by one map",
            mean([hit_way(row["ways"]["kept"], row) for row in alone]),
            ENOUGH,
        )
        aim(
            f"{chain}: the same of hit rate@1, by {most} maps in a row",
            mean(
                [hit_way(row["ways"]["composed"], row) for row in alone if row["upgrades"] == most]
            ),
            ENOUGH_LATER,
        )
        order, value = best_order_by_hits(budgets, alone)
        aim(f"{chain}: the same of hit rate@1, a fifth embedded, by {order}", value, ENOUGH_AT_20)
    usual = [row for row in found.get("heads", []) if row["weight"] is None]
    for recipe in ("bct", "unibct", "bict", "dmu"):
        name = gallery_of(recipe)
        for number in (0, 1):
            above = [
                row["generations"][number]["galleries"][name]["above old"]["mean"] >= 0
                for row in usual
                if row["recipe"] == recipe
            ]
            name_of = (
                f"{recipe}, generation {number + 2}: not below old, of {len(above)} kinds and seeds"
            )
            aim(name_of, mean(above), 1)
    limited = [
        row["upgraded - as it is"]["its map"][1]["low"] > 0
        for row in usual
        if row["recipe"] in heads.UPGRADING
    ]
    aim(
        "BiCT's first claim: upgraded above as it is, generation 3, beyond chance", mean(limited), 1
    )
    aim(
        "BiCT's second claim: seeds where a weight of 0.1 or less is the best",
        second_claim(found),
        1,
    )
    codes_rows = found.get("codes", [])
    if codes_rows:
        first, last = codes_rows[0]["models"][0], codes_rows[0]["models"][-1]
        better = [
            row["cells"][f"{last} -> all three"]["map"]
            >= row["cells"][f"{first} -> {first}"]["map"]
            for row in codes_rows
        ]
        aim("codes: newest queries over three versions not below the oldest alone", mean(better), 1)
    if found.get("cost"):
        ratio = mean([row["ratio"] for row in found["cost"]])
        name = "cost of a search over three origins, of one index (at most)"
        made[name] = {"value": ratio, "aim": 1.1, "met": ratio is not None and ratio <= 1.1}
    return made


def second_claim(found: dict[str, list[Row]]) -> float | None:
    """In how many seeds some small weight beats none, and 1 and more.

    By the map of generation 3 in the gallery that its maps upgraded.
    """
    by_seed: dict[int, dict[float, float]] = {}
    for row in found.get("heads", []):
        if row["recipe"] == "bict" and row["kind"] == heads.WEIGHED:
            weight = 1.0 if row["weight"] is None else row["weight"]
            reached = row["generations"][1]["galleries"]["its map"]["map"]
            by_seed.setdefault(row["seed"], {})[weight] = reached
    whole = [some for some in by_seed.values() if set(some) == {1.0, *heads.WEIGHTS}]
    return mean([0 < max(some, key=lambda weight: some[weight]) <= 0.1 for some in whole])


def read_all() -> dict[str, list[Row]]:
    """Read all rows that there are, by part."""
    return {
        name: [
            row
            for unit in part.units
            for path in sorted(RESULTS.glob(f"{name}-{unit}-*.json"))
            for row in read_rows(path, part.plan)
        ]
        for name, part in PARTS.items()
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="twenty classes, one seed, some rows")
    parser.add_argument("--data", type=Path, required=True, help="the folder of all data sets")
    parser.add_argument("--texts", type=Path, help="what mixed_quality/texts.py made")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=list(PARTS), help="one part only")
    parser.add_argument("--unit", help="of that part, one chain or kind only")
    options = parser.parse_args(arguments)
    folders = Folders(options.data, options.texts)
    torch.set_num_threads(1)
    seeds = range(options.seed, options.seed + (1 if options.quick else options.seeds))
    found: dict[str, list[Row]] = {}
    for name in [options.only] if options.only else list(PARTS):
        part = PARTS[name]
        measured = [unit for unit in part.units if options.texts or unit not in TEXTS]
        units = [options.unit] if options.unit else measured
        if options.quick:
            made = part.measure(folders, units[0], options.seed, [], QUICK_CLASSES)
            found[name] = [row for batch in islice(made, QUICK_BATCHES) for row in batch]
            continue
        for unit, seed in product(units, seeds):
            results = part.results(name, unit, seed)
            rows = read_rows(results, part.plan)
            classes = 150 if unit in TEXTS else part.plan["classes"]
            for batch in part.measure(folders, unit, seed, rows, classes):
                rows.extend(batch)
                print(name, unit, "seed", seed, len(rows), "rows", file=sys.stderr)
                write_rows(results, BENCHMARK, part.plan, rows, torch, np)
            found.setdefault(name, []).extend(rows)
    print(json.dumps({"benchmark": BENCHMARK, "figures": figures(found), "aims": aims(found)}))


if __name__ == "__main__":
    main()
