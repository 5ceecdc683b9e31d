"""The page about compatible training runs, from first to last: its Python and its commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hotfill.config import UpgradeSection

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "train-compatible.md"
BLOCK = re.compile(r"^```(python|sh|toml)\n(.*?)^```$", re.M | re.S)


@pytest.mark.slow  # trains two models and runs seven commands: a minute, more on a busy machine
def test_the_page_runs_from_first_to_last(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    names: dict[str, object] = {}
    said = ""
    for kind, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "python":
            exec(compile(text, str(PAGE), "exec"), names)
        elif kind == "sh" and not text.startswith("pip"):
            for line in text.splitlines():
                done = subprocess.run(
                    line, shell=True, env=environment, capture_output=True, text=True
                )
                assert done.returncode == 0, (line, done.stdout, done.stderr)
                said += done.stdout
    assert "compatible" in said
    assert "small-bct" in said  # the model that `current` names at the end


def test_the_section_of_the_page_is_what_a_configuration_file_takes() -> None:
    (section,) = [
        text for kind, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")) if kind == "toml"
    ]
    decided = UpgradeSection.model_validate(tomllib.loads(section)["upgrade"])
    assert (decided.strategy, decided.up) == ("prefill", "new/up.safetensors")
