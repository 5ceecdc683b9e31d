"""From cells to the figures and aims of the last line: means over pairs of means over seeds."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.mixed_quality.methods import DEFAULT, SAFE, WITH_LABELS

BASELINES_TO_BEAT = ("naive_merge", "RRF", "Procrustes bridge, isotonic")
LABEL_FREE_ORDERS = ("uncertainty",)

Cells = list[dict[str, Any]]


def conclude(cells: Cells) -> dict[str, Any]:
    """Reduce the cells.

    The aims are held against the default; once more, for information, against the default with
    old queries too (`SAFE`), which needs both models for each query.
    """
    titles = sorted({title for cell in cells for title in cell["methods"]})
    pairs = {cell["pair"] for cell in cells}
    gains = {title: mean_gain(cells, title) for title in titles}
    complete = {title for title in titles if set(by_pair(cells, title, "gain")) == pairs}
    aims = _aims_of(cells, DEFAULT)
    ordered = max(
        (title for title in complete if title.endswith(LABEL_FREE_ORDERS) and "log" not in title),
        key=gains.__getitem__,
    )
    aims["gain_best_label_free_order"] = {
        "value": gains[ordered],
        "method": ordered,
        "aim": ">= 0.92",
        "met": gains[ordered] >= 0.92,
    }
    labelled = [title for title in titles if WITH_LABELS in title]
    if labelled:
        best = max(labelled, key=lambda title: (len(by_pair(cells, title, "gain")), gains[title]))
        aims["gain_with_labels"] = {
            "value": gains[best],
            "method": best,
            "pairs": sorted(by_pair(cells, best, "gain")),
            "aim": ">= 0.95",
            "met": gains[best] >= 0.95,
        }
    if f"{SAFE} | random" in titles:
        for name, aim in _aims_of(cells, SAFE).items():
            aims[f"{name}_with_old_queries_beside"] = aim
    return {"figures": {"gain": gains, "pairs": sorted(pairs)}, "aims": aims}


def _aims_of(cells: Cells, method: str) -> dict[str, Any]:
    """What is wanted of a merge in random order."""
    random = f"{method} | random"
    gain = mean_gain(cells, random)
    floors = {pair: min(some) for pair, some in by_pair(cells, random, "floor").items()}
    noisy = {pair: sum(some) for pair, some in by_pair(cells, random, "dips_beyond_noise").items()}
    beaten = {
        baseline: share_beaten(cells, random, f"{baseline} | random")
        for baseline in BASELINES_TO_BEAT
    }
    return {
        "gain_random": {"value": gain, "aim": ">= 0.85", "met": gain >= 0.85},
        "floor": {
            "value": min(floors.values()),
            "by_pair": floors,
            "aim": ">= 0 on every pair",
            "met": min(floors.values()) >= -1e-6,
        },
        "dips_beyond_noise": {
            "value": sum(noisy.values()),
            "by_pair": noisy,
            "aim": "0",
            "met": not any(noisy.values()),
        },
        "beats_baselines_everywhere": {
            "value": min(beaten.values()),
            "by_baseline": beaten,
            "aim": "1.0 of shares below 100 % on every pair",
            "met": min(beaten.values()) == 1.0,
        },
    }


def mean_gain(cells: Cells, title: str) -> float:
    """The mean over the pairs it was measured on."""
    return float(np.mean([np.mean(some) for some in by_pair(cells, title, "gain").values()]))


def by_pair(cells: Cells, title: str, figure: str) -> dict[str, list[float]]:
    """One figure of a method per pair, a value per seed."""
    found: dict[str, list[float]] = {}
    for cell in cells:
        if title in cell["methods"] and cell["methods"][title][figure] is not None:
            found.setdefault(cell["pair"], []).append(cell["methods"][title][figure])
    return found


def share_beaten(cells: Cells, title: str, baseline: str) -> float:
    """Share of (cell, share below 1) where a method's map is at least the baseline's."""
    wins = [
        mine >= theirs
        for cell in cells
        if {title, baseline} <= set(cell["methods"])
        for mine, theirs in zip(
            cell["methods"][title]["map"][:-1],
            cell["methods"][baseline]["map"][:-1],
            strict=True,
        )
    ]
    return float(np.mean(wins))
