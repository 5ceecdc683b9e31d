"""The table of docs/operations/scale.md.

python -m benchmarks.workers.table --into docs/operations/scale.md
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.page import main, table

RESULTS = Path(__file__).parent / "results"
TITLES = {
    "processes_1": "one process",
    "processes_2": "two",
    "processes_4": "four",
    "killed_4": "four, one killed, one added",
    "ray_4": "one, and three Ray actors",
}
HEADER = ["", "items", "items/s", "times one", "ideal/s", "whole, s", "embedded twice", "left out"]


def text() -> str:
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("*.json")]
    reports.sort(key=lambda report: report["items"])
    alone = reports[0]["figures"][0]["items_per_second"]
    return table(
        HEADER,
        [
            [
                TITLES[row["setting"]],
                f"{report['items']:,}",
                f"{row['items_per_second']:,.0f}",
                f"{row['items_per_second'] / alone:.2f}",
                f"{row['ideal_per_second']:,.0f}",
                f"{row['seconds']:.0f}",
                f"{row['embedded_twice']:,}",
                row["never_embedded"],
            ]
            for report in reports
            for row in report["figures"]
        ],
    )


if __name__ == "__main__":
    main("workers", text, __doc__ or "")
