"""`python -m tests.acceptance.truth.page`: from the kept results to docs/reliability.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.acceptance.truth.world import Outcome, table

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[3] / "docs" / "reliability.md"
_PLACE = re.compile(r"(<!-- truth: begin -->\n).*(<!-- truth: end -->)", re.S)


def outcomes() -> list[Outcome]:
    """What came of every fault; a run of one seed and one store is a file, and files add up."""
    reports = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    return [Outcome(**each) for report in reports for each in report["outcomes"]]


def page() -> str:
    """The page with the table of now."""
    text = PAGE.read_text(encoding="utf-8")
    return _PLACE.sub(lambda found: f"{found[1]}{table(outcomes())}\n{found[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
