"""The results file: one cell per pair and seed, in it one line per method and order.

A run goes on where it stopped: every method is written as soon as it is measured, into the file as
it is then, so that runs of different pairs may go side by side.
"""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mixed_quality.pairs import NAMES

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path) -> list[dict[str, Any]]:
    """Read the cells; none where there is no file yet."""
    return json.loads(path.read_text())["cells"] if path.exists() else []


def cell_of(cells: list[dict[str, Any]], pair: str, seed: int) -> dict[str, Any] | None:
    """Find the cell of a pair and a seed."""
    return next((cell for cell in cells if (cell["pair"], cell["seed"]) == (pair, seed)), None)


def with_measured(
    cells: list[dict[str, Any]], facts: dict[str, Any], methods: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the cells with some methods of one cell put in. facts: "pair", "seed" and the rest."""
    previous = cell_of(cells, facts["pair"], facts["seed"]) or {"methods": {}}
    cell = {**facts, "methods": {**previous["methods"], **methods}}
    others = [c for c in cells if (c["pair"], c["seed"]) != (cell["pair"], cell["seed"])]
    return sorted([*others, cell], key=lambda c: (c["seed"], NAMES.index(c["pair"])))


def save(path: Path, cells: list[dict[str, Any]]) -> None:
    """Write all cells, whole or not at all."""
    lines = []
    for cell in cells:
        facts = json.dumps({key: value for key, value in cell.items() if key != "methods"})
        methods = ",\n".join(
            f"  {json.dumps(title)}: {json.dumps(cell['methods'][title])}"
            for title in cell["methods"]
        )
        lines.append(f'{facts[:-1]}, "methods": {{\n{methods}\n}}}}')
    body = ",\n".join(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(f'{{"machine": {json.dumps(_machine())}, "cells": [\n{body}\n]}}\n')
    draft.replace(path)


def _machine() -> dict[str, str]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "processor": platform.machine(),
    }
