"""Turn results/mixed_quality.json into the table of docs/benchmarks.md.

python benchmarks/mixed_quality/table.py                          # print it
python benchmarks/mixed_quality/table.py --into docs/benchmarks.md   # replace it there
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results" / "mixed_quality.json"
BEGIN, END = "<!-- mixed_quality: begin -->", "<!-- mixed_quality: end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    text = table(json.loads(RESULTS.read_text())["cells"])
    if arguments.into is None:
        print(text)
        return
    page = arguments.into.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    arguments.into.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def table(cells: list[dict]) -> str:
    """Return markdown: one row per method and order, one column per pair: gain, mean and spread."""
    pairs = list(dict.fromkeys(cell["pair"] for cell in cells))
    titles = list(dict.fromkeys(title for cell in cells for title in cell["methods"]))
    heads = ["method", "order", *pairs, "mean gain", "lowest floor", "dips", "beyond noise"]
    lines = [_line(heads), _line(["---", "---", *["---:"] * (len(heads) - 2)])]
    lines.append(_line(["old model's map", "", *(_ends(cells, pair, "old") for pair in pairs)]))
    lines.append(_line(["new model's map", "", *(_ends(cells, pair, "new") for pair in pairs)]))
    for title in titles:
        method, order = title.split(" | ")
        found = {
            pair: [
                cell["methods"][title]
                for cell in cells
                if cell["pair"] == pair and title in cell["methods"]
            ]
            for pair in pairs
        }
        figures = [figure for some in found.values() for figure in some]
        means = [np.mean([figure["gain"] for figure in some]) for some in found.values() if some]
        name = f"**{method}**" if figures[0]["ours"] else method
        lines.append(
            _line(
                [
                    name,
                    order,
                    *(_spread([figure["gain"] for figure in some]) for some in found.values()),
                    f"{np.mean(means):.2f}",
                    f"{min(figure['floor'] for figure in figures):+.3f}",
                    f"{np.mean([figure['dips'] for figure in figures]):.1f}",
                    f"{np.mean([figure['dips_beyond_noise'] for figure in figures]):.1f}",
                ]
            )
        )
    seeds = len({cell["seed"] for cell in cells})
    note = (
        f"Gain of map, mean and standard deviation over {seeds} seeds; hotfill's own in bold. Mean "
        "gain over the pairs; lowest floor over all pairs and seeds; dips per curve of ten steps."
    )
    return "\n".join([*lines, "", note])


def _ends(cells: list[dict], pair: str, side: str) -> str:
    return f"{np.mean([cell[side]['map'] for cell in cells if cell['pair'] == pair]):.3f}"


def _spread(gains: list[float]) -> str:
    if not gains:
        return "-"
    if len(gains) == 1:
        return f"{gains[0]:.2f}"
    return f"{np.mean(gains):.2f} ± {np.std(gains):.2f}"


def _line(parts: list[str]) -> str:
    return f"| {' | '.join(parts)} |"


if __name__ == "__main__":
    main()
