"""The blocks of the how-to pages about embedders and data run, from first to last."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from hotfill.config import ModelSection
from hotfill.embedders import HttpEmbedder

PAGES = Path(__file__).parents[2] / "docs" / "howto"
BLOCK = re.compile(r"(<!-- needs an extra -->\n)?^```(python|sh|toml)\n(.*?)^```$", re.M | re.S)


def blocks(page: str, *languages: str) -> list[tuple[str, str]]:
    """Language and text of each block that needs no extra."""
    found = BLOCK.findall((PAGES / page).read_text(encoding="utf-8"))
    return [(kind, text) for extra, kind, text in found if kind in languages and not extra]


@pytest.mark.parametrize("page", ["embedders.md", "embedding-cache.md"])
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch) -> None:
    for package in ("qdrant_edge", "pyarrow", "httpx"):
        if find_spec(package) is None:
            pytest.skip(f"the page needs {package}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    parts = blocks(page, "python")
    assert parts
    names: dict[str, object] = {}
    for number, (_, text) in enumerate(parts):
        exec(compile(text, f"{page}, block {number}", "exec"), names)


def test_the_page_about_own_data_runs_from_first_to_last(tmp_path, monkeypatch) -> None:
    for package in ("qdrant_edge", "pyarrow"):
        if find_spec(package) is None:
            pytest.skip(f"the page needs {package}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    names: dict[str, object] = {}
    for kind, text in blocks("own-data.md", "python", "sh"):
        if kind == "python":
            exec(compile(text, "own-data.md", "exec"), names)
        elif not text.startswith("pip"):
            done = subprocess.run(
                ["sh", "-ec", text],
                env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, (text, done.stdout, done.stderr)
    assert (tmp_path / "rehearsal.json").exists()


@pytest.mark.parametrize("page", ["embedders.md", "embedding-cache.md"])
def test_the_sections_of_a_page_are_what_a_configuration_file_takes(page) -> None:
    parts = blocks(page, "toml")
    assert parts
    for _, text in parts:
        section = ModelSection.model_validate(tomllib.loads(text)["new"])
        module, _, name = section.embedder.partition(":")
        factory = getattr(__import__(module, fromlist=[name]), name)
        known = set(factory.__kwdefaults__ or ()) | set(
            factory.__code__.co_varnames[: factory.__code__.co_kwonlyargcount]
        )
        if "settings" in factory.__code__.co_varnames:  # further arguments of the class
            known |= {"batch_size", "parallel", "pooling"}
            known |= set(inspect.signature(HttpEmbedder).parameters)
        assert set(section.options) <= known, text
