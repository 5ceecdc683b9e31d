"""The page about rehearsals: its Python runs, its commands run, its catalogue is complete."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hotfill.cli.app import app
from hotfill.lab.training.transforms.label_free import LABEL_FREE
from hotfill.rehearsal.maps import MAPS
from hotfill.types import ModelId
from hotfill.upgrade.plan import Plan

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "rehearse.md").read_text(encoding="utf-8")
BLOCKS = [
    (language, text)
    for gallery, language, text in re.findall(
        r"(<!-- needs a gallery -->\n)?^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S
    )
    if not gallery  # those commands run in tests/unit/cli/test_sample.py
]


def test_the_page_runs_from_first_to_last(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    commands = 0
    for number, (language, text) in enumerate(BLOCKS):
        if language == "python":
            exec(compile(text, f"rehearse.md, block {number}", "exec"), names)
        elif text.startswith("hotfill rehearse"):
            done = CliRunner().invoke(app, shlex.split(text)[1:])
            assert done.exit_code == 0, done.stderr
            assert "recommended" in done.output
            commands += 1
    assert commands >= 4
    assert (tmp_path / "first" / "index.html").exists()


def test_the_lines_for_the_configuration_are_a_plan() -> None:
    (text,) = (text for language, text in BLOCKS if language == "toml")
    section = tomllib.loads(text)["upgrade"]
    assert Plan(old_model=ModelId("old", "1", 2), new_model=ModelId("new", "1", 2), **section)


@pytest.mark.parametrize("name", [*MAPS, *LABEL_FREE])
def test_every_transform_stands_in_the_table(name) -> None:
    assert re.search(rf"^\|.*`{name}`.*\|$", PAGE, re.M)
