"""`python -m tests.acceptance.truth.page`: from the kept results to docs/reliability.md."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.results_page import PAGE, kept, page_with
from tests.acceptance.truth.world import Outcome, table

RESULTS = Path(__file__).parent / "results"


def outcomes() -> list[Outcome]:
    """What came of every fault, by the kept results."""
    return kept(RESULTS, Outcome)


def page() -> str:
    """The page with the table of now."""
    return page_with("truth", table(outcomes()))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
