"""Turn results/one_index*.json into the table of docs/benchmarks.md.

python benchmarks/mixed_quality/one_index_table.py                             # print it
python benchmarks/mixed_quality/one_index_table.py --into docs/benchmarks.md   # replace it there
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.page import main, table

RESULTS = Path(__file__).parent / "results"
Cell = dict[str, Any]


def text() -> str:
    """All that stands between the two marks: a row for each pair and end, and the aims."""
    cells = [
        cell
        for path in sorted(RESULTS.glob("one_index*.json"))
        for cell in json.loads(path.read_text(encoding="utf-8"))
    ]
    heads = ["pair", "finish", "residuals", "seeds", "rho", "gain raw", "gain calibrated"]
    heads += ["calibrated, to its own end", "lowest floor", "queries of both: gain; floor"]
    heads += ["harm", "served of the full ten"]
    ways = dict.fromkeys((cell["pair"], cell["finish"], cell["residuals"]) for cell in cells)
    rows = [_row(way, [cell for cell in cells if _way(cell) == way]) for way in ways]
    return "\n\n".join([table(heads, rows, words=3), _aims(cells)])


def _way(cell: Cell) -> tuple[str, str, bool]:
    return cell["pair"], cell["finish"], cell["residuals"]


def _row(way: tuple[str, str, bool], cells: list[Cell]) -> list[str]:
    pair, finish, residuals = way
    return [
        pair,
        finish,
        "yes" if residuals else "no",
        str(len(cells)),
        f"{mean(cell['rho_queries'] for cell in cells):.2f}",
        _spread([cell["raw"]["gain"] for cell in cells]),
        _spread([cell["calibrated"]["gain"] for cell in cells]),
        _spread([cell["calibrated"]["gain_to_end"] for cell in cells]),
        f"{min(cell[name]['floor'] for cell in cells for name in ('raw', 'calibrated')):+.3f}",
        _both([cell["both"] for cell in cells if "both" in cell]),
        f"{sum(cell['raw']['harm'] for cell in cells)} / "
        f"{sum(cell['calibrated']['harm'] for cell in cells)}",
        f"{min(cell['kept'] for cell in cells):.3f}",
    ]


def _both(found: list[Cell]) -> str:
    if not found:
        return ""
    floor = min(each["floor"] for each in found)
    return f"{_spread([each['gain'] for each in found])}; {floor:+.3f}"


def _chosen(cell: Cell) -> Cell:
    """What judged queries choose where rho leaves it open: the queries of both models, or not."""
    ways = [cell[name] for name in ("calibrated", "both") if name in cell]
    return max(ways, key=lambda way: way["gain"])  # type: ignore[no-any-return]


def _spread(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2f}"
    return f"{mean(values):.2f} ± {max(abs(value - mean(values)) for value in values):.2f}"


def _aims(cells: list[Cell]) -> str:
    """Hold the default (plain end, residuals), and the agreement end, against what was wanted."""
    ended = {
        finish: [cell for cell in cells if cell["finish"] == finish and cell["residuals"]]
        for finish in ("plain", "agreement")
    }
    plain, agreement = ended["plain"], ended["agreement"]

    def over_pairs(some: list[Cell], figure: Callable[[Cell], float]) -> float:
        pairs = {cell["pair"] for cell in some}
        return mean(mean(figure(c) for c in some if c["pair"] == pair) for pair in pairs)

    floor = min(cell[way]["floor"] for cell in plain for way in ("raw", "calibrated"))
    judged = min(_chosen(cell)["floor"] for cell in plain)
    by_judged = over_pairs(plain, lambda cell: _chosen(cell)["gain"])
    harm = sum(cell[way]["harm"] for cell in plain for way in ("raw", "calibrated"))
    kept = min(cell["kept"] for cell in plain)
    raw = over_pairs(plain, lambda cell: cell["raw"]["gain"])
    calibrated = over_pairs(plain, lambda cell: cell["calibrated"]["gain"])
    end = over_pairs(agreement, lambda cell: cell["calibrated"]["gain"])
    rows = [
        ["mean gain, plain end, raw", ">= 0.84", f"{raw:.3f}", raw >= 0.84],
        ["mean gain, plain end, calibrated", ">= 0.90", f"{calibrated:.3f}", calibrated >= 0.90],
        [
            "the same, queries of both models where judged queries say so",
            ">= 0.90",
            f"{by_judged:.3f}",
            by_judged >= 0.90,
        ],
        ["mean gain, agreement end, calibrated", ">= 1.10", f"{end:.3f}", end >= 1.10],
        ["lowest floor, plain end", ">= 0", f"{floor:+.3f}", floor >= 0],
        [
            "the same, queries of both models where judged queries say so",
            ">= 0",
            f"{judged:+.3f}",
            judged >= 0,
        ],
        ["harm beyond noise, plain end, both rankings", "0", str(harm), harm == 0],
        ["served ten of the full calibrated ten", ">= 0.99", f"{kept:.3f}", kept >= 0.99],
    ]
    heads = [f"aim ({len({cell['pair'] for cell in plain})} pairs)", "wanted", "measured", "met"]
    return table(heads, [[*row, "yes" if met else "**no**"] for *row, met in rows], words=2)


if __name__ == "__main__":
    main("one_index", text, __doc__)
