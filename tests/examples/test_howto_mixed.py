"""The how-to pages about galleries that are not embedded again, or in part, run as they stand."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.examples.howto import phase, run_page, shell

__all__ = ["shell"]

PAGES = Path(__file__).parents[2] / "docs" / "howto"

pytestmark = [
    pytest.mark.skipif(find_spec("qdrant_edge") is None, reason="the pages need qdrant-edge"),
    pytest.mark.usefixtures("shell"),
]


@pytest.mark.slow  # each runs seven commands, of seconds each
def test_the_page_without_contents_leaves_no_content_in_any_file():
    said = run_page(PAGES / "without-contents.md")
    assert phase("upgrade.toml") == "completed"
    assert any("500 imputed from" in text and "by fit 1" in text for text in said)
    words = [b"amber birch", b"heron islet", b"cedar", b"jetty"]
    for path in Path().rglob("*"):
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts:
            content = path.read_bytes()
            assert not any(word in content for word in words), path


@pytest.mark.slow  # each runs seven commands, of seconds each
def test_the_page_on_a_budget_does_what_it_says():
    said = run_page(PAGES / "on-a-budget.md")
    assert phase("upgrade.toml") == "completed"
    assert any("480 imputed from" in text for text in said)


@pytest.mark.slow
def test_the_page_model_after_model_does_what_it_says():
    said = run_page(PAGES / "model-after-model.md")
    assert phase("third.toml") == "completed"
    assert any("that were imputed from" in text for text in said)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pyarrow") is None, reason="the page needs pyarrow")
def test_the_page_about_batch_systems_asks_the_model_for_nothing_that_is_there():
    said = run_page(PAGES / "spark.md")
    assert phase("upgrade.toml") == "backfilled"
    assert any("embedded 100 items of 1 files" in text for text in said)
    assert any("kept 400 vectors more" in text for text in said)
