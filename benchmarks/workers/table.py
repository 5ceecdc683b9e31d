"""The table of docs/operations/scale.md.

python -m benchmarks.workers.table --into docs/operations/scale.md
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.page import main, table

RESULTS = Path(__file__).parent / "results" / "workers.json"
TITLES = {
    "processes_1": "one process",
    "processes_2": "two",
    "processes_4": "four",
    "killed_4": "four, one killed, one added",
    "ray_4": "one, and three Ray actors",
}
HEADER = ["", "items/s", "times one", "ideal/s", "whole, s", "embedded twice", "left out"]


def text() -> str:
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["figures"]
    alone = rows[0]["items_per_second"]
    return table(
        HEADER,
        [
            [
                TITLES[row["setting"]],
                f"{row['items_per_second']:,.0f}",
                f"{row['items_per_second'] / alone:.2f}",
                f"{row['ideal_per_second']:,.0f}",
                f"{row['seconds']:.0f}",
                f"{row['embedded_twice']:,}",
                row["never_embedded"],
            ]
            for row in rows
        ],
    )


if __name__ == "__main__":
    main("workers", text, __doc__ or "")
