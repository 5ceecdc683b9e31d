"""Tables of docs/reliability.md, made from the kept results of the campaigns."""

from __future__ import annotations

import json
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def kept(folder, outcome):
    """What came of every fault; a run is a file, and files add up."""
    reports = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return [outcome(**each) for report in reports for each in report["outcomes"]]


def page_with(name, table) -> str:
    """The page with a table between the marks of a name."""
    place = re.compile(rf"(<!-- {name}: begin -->\n).*(<!-- {name}: end -->)", re.S)
    text = PAGE.read_text(encoding="utf-8")
    return place.sub(lambda found: f"{found[1]}{table}\n{found[2]}", text)
