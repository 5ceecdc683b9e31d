"""`python -m tests.acceptance.campaign.page`: from the results to docs/reliability.md."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.campaign.outcome import Outcome, table
from tests.acceptance.results_page import PAGE, kept, page_with

RESULTS = Path(__file__).parent / "results"


def outcomes() -> list[Outcome]:
    """What came of every fault, by the kept results."""
    return kept(RESULTS, Outcome)


def page() -> str:
    """The page with the table of now."""
    return page_with("campaign", table(outcomes()))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
