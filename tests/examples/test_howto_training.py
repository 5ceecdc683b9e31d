"""The pages about trained models run, from first to last: their Python and their commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hotfill.config import ModelSection
from hotfill.upgrade.plan import Decisions

PAGES = Path(__file__).parents[2] / "docs" / "howto"
BLOCK = re.compile(r"^```(python|sh|toml)\n(.*?)^```$", re.M | re.S)


def blocks(page: str) -> list[tuple[str, str]]:
    return BLOCK.findall((PAGES / page).read_text(encoding="utf-8"))


@pytest.mark.slow  # each trains models and runs many commands: a minute, more on a busy machine
@pytest.mark.parametrize(
    ("page", "expected"),
    [("train-compatible.md", "small-bct"), ("small-query-model.md", "query.onnx")],
)
def test_a_page_runs_from_first_to_last(page, expected, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    names: dict[str, object] = {}
    said = ""
    for kind, text in blocks(page):
        if kind == "python":
            exec(compile(text, page, "exec"), names)
        elif kind == "sh" and not text.startswith("pip"):
            for line in text.splitlines():
                done = subprocess.run(
                    line, shell=True, env=environment, capture_output=True, text=True
                )
                assert done.returncode == 0, (line, done.stdout, done.stderr)
                said += done.stdout
    assert "compatible" in said
    assert expected in said


def test_the_sections_of_the_pages_are_what_a_configuration_file_takes() -> None:
    (section,) = [text for kind, text in blocks("small-query-model.md") if kind == "toml"]
    ModelSection.model_validate(tomllib.loads(section)["new"])
    (section,) = [text for kind, text in blocks("train-compatible.md") if kind == "toml"]
    decided = Decisions(**tomllib.loads(section)["upgrade"])
    assert (decided.strategy, decided.up) == ("prefill", "new/up.safetensors")
