"""Turn results/10k.json into the table of docs/benchmarks.md.

python benchmarks/stores/table.py                             # print it
python benchmarks/stores/table.py --into docs/benchmarks.md   # replace it there
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "10k.json"
BEGIN, END = "<!-- stores: begin -->", "<!-- stores: end -->"


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path)
    asked = parser.parse_args()
    if asked.into is None:
        print(table())
        return
    before, rest = asked.into.read_text().split(BEGIN)
    _, after = rest.split(END)
    asked.into.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}")


if __name__ == "__main__":
    main()
