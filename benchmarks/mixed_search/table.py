"""Turn results/*.json into the table of docs/benchmarks.md.

python benchmarks/mixed_search/table.py                             # print it
python benchmarks/mixed_search/table.py --into docs/benchmarks.md   # replace it there
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.page import main, table

RESULTS = Path(__file__).parent / "results"


def text() -> str:
    rows = [
        row
        for path in sorted(RESULTS.glob("*.json"))
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]
    ]
    heads = ["store", "items", "moved", "one index, ms", "raw", "calibrated", "merge"]
    heads += ["raw, work", "calibrated, work", "p95 raw", "p95 calibrated", "recall"]
    return table(heads, map(_cells, rows), words=3)


def _cells(row: dict[str, Any]) -> list[str]:
    def ratio(name: str) -> str:
        return f"{row[name]:.2f}" if name in row else ""

    moved = f"{row['coverage']:.0%}" + (", moving" if row["state"] == "moving" else "")
    old, new = row["dimensions"]
    return [
        row["store"],
        f"{row['items']:,} x {old} to {new}",
        moved,
        f"{row['plain_p50_ms']:.2f}",
        *(ratio(f"{way}_ratio_p50") for way in ("raw", "calibrated", "merge")),
        *(ratio(f"{way}_ratio_p50_work") for way in ("raw", "calibrated")),
        *(ratio(f"{way}_ratio_p95") for way in ("raw", "calibrated")),
        f"{row['recall']:.3f}" if "recall" in row else "",
    ]


if __name__ == "__main__":
    main("mixed_search", text, __doc__)
