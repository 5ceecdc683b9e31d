"""Turn results/10k.json into the table of docs/benchmarks.md.

python benchmarks/stores/table.py                             # print it
python benchmarks/stores/table.py --into docs/benchmarks.md   # replace it there
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.page import main

RESULTS = Path(__file__).parent / "results" / "10k.json"


def table() -> str:
    rows = [
        "| store | moves/s | the same, searched | moves / plain upserts | moves / own upserts "
        "| p95 both sides, still / plain idle | moving flat out / plain idle "
        "| moving at 1,000/s / plain idle | moving at 1,000/s / still |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for store, each in json.loads(RESULTS.read_text())["figures"].items():
        cells = [
            f"{each['moves_per_second']:,.0f}",
            f"{each['moves_per_second_searched']:,.0f}",
            f"{each['moves_over_plain_upserts']:.2f}",
            f"{each['moves_over_upserts']:.2f}",
            f"{each['mixed_still_p95_ms'] / each['plain_idle_p95_ms']:.1f}",
            f"{each['p95_moving_over_idle']:.1f}",
            f"{each['p95_paced_over_idle']:.1f}",
            f"{each['p95_paced_over_still']:.1f}",
        ]
        rows.append(f"| {store} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    main("stores", table, __doc__)
