"""Does the scheduler's memory grow with the gallery? See README.md next to this file."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SIZES = (1_000_000, 10_000_000, 100_000_000)
AIM_MEGABYTES = 20


def measured(items: int) -> dict[str, float]:
    """Simulate in a process of its own."""
    words = [sys.executable, str(HERE / "simulate.py"), str(items)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100,000 and 1,000,000 items only")
    parser.add_argument("--data", type=Path, help="not used: everything is synthetic")
    parser.add_argument("--seed", type=int, default=0, help="not used: the simulation is fixed")
    asked = parser.parse_args()
    sizes = (100_000, 1_000_000) if asked.quick else SIZES
    path = HERE / "results" / ("quick.json" if asked.quick else "full.json")
    runs: list[dict[str, float]] = []
    for items in sizes:
        runs.append(measured(items))
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
        report = report_of(runs)  # each size is kept as soon as it is measured
        path.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


def report_of(runs: list[dict[str, float]]) -> dict:
    growth = runs[-1]["peak_growth_megabytes"] - runs[0]["peak_growth_megabytes"]
    return {
        "benchmark": "scheduler_memory",
        "figures": {
            f"{name}_{run['items']}": run[name] for run in runs for name in run if name != "items"
        },
        "aims": {
            "peak_growth_megabytes": {
                "value": growth,
                "aim": f"<= {AIM_MEGABYTES}",
                "met": growth <= AIM_MEGABYTES,
            }
        },
    }


if __name__ == "__main__":
    main()
