"""Rows of a plan that is measured bit by bit, in one file of results.

The file says of which plan its rows are, so the same run again goes on where the last one ended.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from types import ModuleType
from typing import Any

Row = dict[str, Any]


def read_rows(results: Path | None, plan: dict[str, Any]) -> list[Row]:
    """Read what has been measured; nothing where there is no file. Exits for another plan's."""
    if results is None or not results.exists():
        return []
    found = json.loads(results.read_text(encoding="utf-8"))
    if found["plan"] != plan:
        raise SystemExit(f"{results} is of another plan; move it away to measure anew")
    rows: list[Row] = found["rows"]
    return rows


def write_rows(
    results: Path, benchmark: str, plan: dict[str, Any], rows: list[Row], *libraries: ModuleType
) -> None:
    """Write all rows, whole, with the machine and the versions of the libraries."""
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    versions = {library.__name__: library.__version__ for library in libraries}
    content = {"benchmark": benchmark, **machine, **versions, "plan": plan, "rows": rows}
    results.parent.mkdir(parents=True, exist_ok=True)
    draft = results.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draft.replace(results)
