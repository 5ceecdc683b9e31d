"""Turn results/*.json into the tables of docs/benchmarks.md.

python benchmarks/binary/table.py                             # print them
python benchmarks/binary/table.py --into docs/benchmarks.md   # replace them there
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.page import line, main

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]

# Column title: method in the results. The first ones are ours.
METHODS = {
    "**grid**": "grid, fitted, float query",
    "by codes": "grid, fitted, code query",
    "+ trained": "grid, fitted + trained, float query",
    "unfitted": "grid, random rotation, float query",
    "PQ": "PQ fast-scan",
    "OPQ": "OPQ + PQ fast-scan",
    "RaBitQ": "RaBitQ fast-scan",
    "SQ4": "scalar quantiser 4 bits",
    "signs": "sign codes, float query",
    "ITQ": "ITQ, float query",
}
FOR_SCALE = ("scalar quantiser 8 bits", "usearch i8", "usearch b1", "HNSW32 float")


def text() -> str:
    """All tables."""
    return "\n\n".join([quality(), scale(), coarse(), speed(), compatibility()])


def rows_of(part: str) -> list[Row]:
    path = RESULTS / f"{part}.json"
    rows: list[Row] = json.loads(path.read_text())[part] if path.exists() else []
    return rows


def quality() -> str:
    """recall@10 of every method, by set and budget."""
    rows = rows_of("quality")
    heads = ["set", "bits", *METHODS, "of 50, by float", "map / float's"]
    lines = [line(heads), line(["---", "---:", *["---:"] * (len(heads) - 2)])]
    for name in dict.fromkeys(row["set"] for row in rows):
        floats = _found(rows, name, 1, "float flat")
        for bits in (4, 2, 1):
            found = {title: _found(rows, name, bits, method) for title, method in METHODS.items()}
            ours = found["**grid**"]
            if ours is None:
                continue
            best = max(row["recall@10"] for row in found.values() if row is not None)
            lines.append(
                line(
                    [
                        name,
                        bits,
                        *(_recall(row, best) for row in found.values()),
                        f"{ours['recall@10 of 50, by float']:.3f}",
                        "-"
                        if floats is None or floats["map@100"] is None
                        else f"{ours['map@100'] / floats['map@100']:.3f}",
                    ]
                )
            )
    return "\n".join(lines)


def scale() -> str:
    """What has no budget, for scale."""
    rows = rows_of("quality")
    lines = [line(["recall@10, for scale", *FOR_SCALE]), line(["---", *["---:"] * 4])]
    for name in dict.fromkeys(row["set"] for row in rows):
        found = [_found(rows, name, 1, method) for method in FOR_SCALE]
        if any(row is not None for row in found):
            lines.append(line([name, *(_recall(row, 2.0) for row in found)]))
    return "\n".join(lines)


def coarse() -> str:
    """recall@10 where the scan reads some of the bits."""
    rows = rows_of("coarse")
    lines = [
        line(["recall@10 by bits that the scan reads", "bits", "code", "all", "2", "1"]),
        line(["---", "---:", "---:", "---:", "---:", "---:"]),
    ]
    for name, bits, code in dict.fromkeys((row["set"], row["bits"], row["code"]) for row in rows):
        found = {
            r["scanned"]: r["recall@10"] for r in rows if (r["set"], r["bits"]) == (name, bits)
        }
        most = max(found)
        cells = [found[most], *(found.get(each) if each < most else None for each in (2, 1))]
        lines.append(
            line([name, bits, code, *("-" if each is None else f"{each:.3f}" for each in cells)])
        )
    return "\n".join(lines)


def speed() -> str:
    """Queries a second over that of the float scan."""
    rows = rows_of("speed")
    settings = [(1, 1), (1, 64), (2, 1), (2, 64)]
    heads = ["bytes", *(f"{threads} CPU, {batch} at once" for threads, batch in settings)]
    lines = [line(["times the float scan", *heads]), line(["---", *["---:"] * 5])]
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = {(r["threads"], r["batch"]): r for r in rows if r["method"] == method}
        size = next(iter(mine.values()))["bytes_per_item"]
        ratios = [f"{mine[setting]['times_float_flat']:.1f}" for setting in settings]
        lines.append(line([method, f"{size:g}", *ratios]))
    return "\n".join(lines)


def compatibility() -> str:
    """map of each version's codes as queries and as gallery."""
    path = RESULTS / "compatibility.json"
    cells = json.loads(path.read_text())["compatibility"] if path.exists() else {}
    lines = [line(["query to gallery", "map"]), line(["---", "---:"])]
    lines += [line([name, f"{value:.4f}"]) for name, value in cells.items()]
    return "\n".join(lines)


def _found(rows: list[Row], name: str, bits: int, method: str) -> Row | None:
    wanted = (name, bits, method)
    return next((row for row in rows if (row["set"], row["bits"], row["method"]) == wanted), None)


def _recall(row: Row | None, best: float) -> str:
    if row is None:
        return "-"
    value = f"{row['recall@10']:.3f}"
    return f"**{value}**" if row["recall@10"] == best else value


if __name__ == "__main__":
    main("binary", text, __doc__)
