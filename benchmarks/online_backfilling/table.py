"""Turn results/online_backfilling.json into the tables of docs/benchmarks.md.

python benchmarks/online_backfilling/table.py                             # print them
python benchmarks/online_backfilling/table.py --into docs/benchmarks.md   # replace them there
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.online_backfilling.methods import LABEL_FREE_NAMES
from benchmarks.online_backfilling.run import RESULTS, conclude
from benchmarks.page import main
from benchmarks.page import table as as_table
from benchmarks.rows import Row


def text() -> str:
    """Gains of every method, the steps of the ladder, and the aims."""
    rows: list[Row] = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    pairs = list(dict.fromkeys(row["pair"] for row in rows))
    own = {pair: [row for row in rows if row["pair"] == pair] for pair in pairs}
    titles = list(rows[0]["cells"])
    gains = [["old model's map", "", *(_mean(own[pair], "old") for pair in pairs)]]
    gains.append(["new model's map", "", *(_mean(own[pair], "new") for pair in pairs)])
    for title in titles:
        labels = "" if title.split(";")[0] in LABEL_FREE_NAMES else "yes"
        gains.append([title, labels, *(_gain(own[pair], title) for pair in pairs)])
    steps = [
        [
            pair,
            *_names(own[pair], place),
            "; ".join(_step(row["steps"][place]) for row in own[pair]),
        ]
        for pair in pairs
        for place in range(len(own[pair][0]["steps"]))
    ]
    verdicts = [
        [name, aim["value"], aim["aim"], "yes" if aim["met"] else "**no**"]
        for name, aim in conclude(rows)["aims"].items()
    ]
    return "\n\n".join(
        [
            as_table(["method", "labels", *pairs], gains, words=2),
            as_table(["pair", "from", "to", "area under map, each seed [95 %]"], steps, words=4),
            as_table(["aim", "value", "wanted", "met"], verdicts),
        ]
    )


def _mean(rows: list[Row], name: str) -> str:
    return f"{np.mean([row[name] for row in rows]):.3f}"


def _gain(rows: list[Row], title: str) -> str:
    gains = [row["cells"][title]["gain"] for row in rows]
    floor = min(row["cells"][title]["floor"] for row in rows)
    apart = f" ± {np.std(gains):.2f}" if len(gains) > 1 else " (1)"
    return f"{np.mean(gains):.2f}{apart}" + (f", {floor:+.3f}" if floor <= -0.0005 else "")


def _names(rows: list[Row], place: int) -> list[str]:
    steps = [row["steps"][place] for row in rows]
    return [" or ".join(dict.fromkeys(str(step[end]) for step in steps)) for end in ("from", "to")]


def _step(step: dict[str, float]) -> str:
    return f"{step['area']:+.3f} [{step['low']:+.3f}, {step['high']:+.3f}]"


if __name__ == "__main__":
    main("online_backfilling", text, __doc__)
