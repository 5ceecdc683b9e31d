"""Compute from measured figures what large galleries take: the tables of docs/operations/scale.md.

python benchmarks/scheduler_memory/scale.py                                # print them
python benchmarks/scheduler_memory/scale.py --into docs/operations/scale.md   # replace them there
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.page import main

BENCHMARKS = Path(__file__).parents[1]
SIZES = {"100 M": 100_000_000, "1 B": 1_000_000_000}
RATES = (100, 1000, 5000)  # items a second that one worker embeds
WORKERS = (1, 8, 64)
DIMENSIONS = (256, 768, 1536)


def figures_of(benchmark: str, *names: str):
    """The figures of the first of these results that is there."""
    for name in names:
        path = BENCHMARKS / benchmark / "results" / f"{name}.json"
        if path.exists():
            return json.loads(path.read_text())["figures"]
    raise SystemExit(f"run benchmarks/{benchmark}/run.py first")


def measured() -> dict[str, float]:
    """What the tables are computed from."""
    workers = figures_of("workers", "workers")
    scheduler = figures_of("scheduler_memory", "full")
    overhead = figures_of("backfill_overhead", "full", "quick")
    largest = max(int(name.rpartition("_")[2]) for name in scheduler if "leases" in name)
    return {
        "largest": largest,
        # Of four processes at once, whose models were the bound: the store takes as many at least.
        "moves": next(row for row in workers if row["setting"] == "processes_4")[
            "items_per_second"
        ],
        "engine": min(1.0, overhead["ratio_paced"]),
        "schedule": scheduler[f"schedule_seconds_{largest}"] / largest,
        "journal": max(
            part["complete"]["journal_bytes_an_item"]
            for path in (BENCHMARKS / "million" / "results").glob("*.json")
            for part in json.loads(path.read_text())["figures"].values()
            if "complete" in part
        ),
        "leases": scheduler[f"batches_per_second_{largest}"],
        "peak": scheduler[f"peak_growth_megabytes_{largest}"],
    }


def tables() -> str:
    """Both tables, and what they are computed from."""
    known = measured()
    return "\n\n".join([inputs(known), times(known), rooms(known)])


def inputs(known) -> str:
    return "\n".join(
        [
            "| measured | figure | by |",
            "|---|---:|---|",
            f"| items a second that four processes wrote to PostgreSQL, no index on the new side | "
            f"{known['moves']:,.0f} | `benchmarks/workers` |",
            f"| the engine compared with a bare loop, at 0.5 ms an item | {known['engine']:.2f} | "
            "`benchmarks/backfill_overhead` |",
            f"| microseconds an item to put {known['largest']:,} items in order | "
            f"{1e6 * known['schedule']:.1f} | `benchmarks/scheduler_memory` |",
            f"| batches of 256 leased and finished a second, one process | "
            f"{known['leases']:,.0f} | the same |",
            f"| megabytes of memory that scheduling {known['largest']:,} items takes | "
            f"{known['peak']:.0f} | the same |",
            f"| bytes of the journal an item, at the end of an upgrade | {known['journal']:.0f} | "
            "`benchmarks/million` |",
        ]
    )


def times(known) -> str:
    head = " | ".join(f"{workers} worker{'s' * (workers > 1)}" for workers in WORKERS)
    rows = [
        f"| items | one worker embeds | {head} | put in order |",
        "|---|---:|" + "---:|" * (len(WORKERS) + 1),
    ]
    for name, items in SIZES.items():
        for rate in RATES:
            cells = []
            for workers in WORKERS:
                embedded = workers * rate * known["engine"]
                pace = min(embedded, known["moves"])
                cells.append(_lasting(items / pace) + ("*" if embedded > pace else ""))
            order = _lasting(items * known["schedule"])
            rows.append(f"| {name} | {rate:,}/s | " + " | ".join(cells) + f" | {order} |")
    return "\n".join(rows)


def rooms(known) -> str:
    rows = [
        "| items | dimensions, old and new | old vectors | new vectors | new, half precision "
        "| journal |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, items in SIZES.items():
        for dimension in DIMENSIONS:
            full = 4 * dimension * items
            cells = (_room(full), _room(full), _room(full / 2), _room(known["journal"] * items))
            rows.append(f"| {name} | {dimension} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _lasting(seconds: float) -> str:
    hours = seconds / 3600
    if hours < 1:
        return f"{seconds / 60:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def _room(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:,.0f} GB" if n_bytes < 1e12 else f"{n_bytes / 1e12:,.1f} TB"


if __name__ == "__main__":
    main("scale", tables, __doc__)
