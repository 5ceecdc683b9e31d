"""Turn results/search_space.json into the table of docs/benchmarks.md.

python benchmarks/search_space/table.py                             # print it
python benchmarks/search_space/table.py --into docs/benchmarks.md   # replace it there
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.page import main, table
from benchmarks.search_space.run import RESULTS, REWARDS, conclude

MEANS = {"r1": "M(q, q)", "r2": "M(q, g)", "r3": "their product"}


def text() -> str:
    """One row per reward, and the aims."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    said = conclude(rows)
    figures = said["figures"]
    taus, lost = figures["tau"], figures["lost against the best of 16 looked at"]
    of_reward = [
        [
            f"{name.upper()}, {MEANS[name]}",
            f"{taus[name]['tau']:.2f} [{taus[name]['low']:.2f}, {taus[name]['high']:.2f}]",
            f"{lost[name]:.4f}",
        ]
        for name in REWARDS
    ]
    true = figures["M(q,g)"]
    return "\n\n".join(
        [
            f"{figures['networks']} networks, true M(q, g) {true['least']:.3f} to "
            f"{true['most']:.3f}, mean {true['mean']:.3f}:",
            table(
                ["reward", "Kendall's tau [95 %]", "map lost by its choice among 16"],
                [*of_reward, ["chance", "0", f"{lost['chance']:.4f}"]],
            ),
            table(
                ["aim", "value", "wanted", "met"],
                [
                    [name, aim["value"], f"> {aim['aim']}", "yes" if aim["met"] else "**no**"]
                    for name, aim in said["aims"].items()
                ],
            ),
        ]
    )


if __name__ == "__main__":
    main("search_space", text, __doc__ or "")
