"""The blocks of the how-to pages about embedders and data run, from first to last."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from hotfill.config import ModelSection

PAGES = Path(__file__).parents[2] / "docs" / "howto"
BLOCK = re.compile(r"(<!-- needs an extra -->\n)?^```(python|toml)\n(.*?)^```$", re.M | re.S)


def blocks(page: str, language: str) -> list[str]:
    found = BLOCK.findall((PAGES / page).read_text(encoding="utf-8"))
    return [text for extra, kind, text in found if kind == language and not extra]


@pytest.mark.parametrize("page", ["embedders.md", "embedding-cache.md", "own-data.md"])
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch) -> None:
    for package in ("qdrant_edge", "pyarrow", "httpx"):
        if find_spec(package) is None:
            pytest.skip(f"the page needs {package}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    parts = blocks(page, "python")
    assert parts
    names: dict[str, object] = {}
    for number, text in enumerate(parts):
        exec(compile(text, f"{page}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", ["embedders.md", "embedding-cache.md"])
def test_the_sections_of_a_page_are_what_a_configuration_file_takes(page) -> None:
    parts = blocks(page, "toml")
    assert parts
    for text in parts:
        section = ModelSection.model_validate(tomllib.loads(text)["new"])
        module, _, name = section.embedder.partition(":")
        factory = getattr(__import__(module, fromlist=[name]), name)
        known = set(factory.__kwdefaults__ or ()) | set(
            factory.__code__.co_varnames[: factory.__code__.co_kwonlyargcount]
        )
        if "settings" in factory.__code__.co_varnames:  # further arguments of the class
            known |= {"batch_size", "parallel", "pooling"}
        assert set(section.options) <= known, text
