"""Float vectors become codes: the example, and every block of the how-to page."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hotfill.cli.app import app

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(python|toml|sh)\n(.*?)^```$", re.M | re.S)


@pytest.fixture(autouse=True)
def beside(tmp_path, monkeypatch):
    for package in ("qdrant_edge", "faiss"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])


def test_codes_find_as_much_as_floats_at_every_moment(tmp_path, capsys) -> None:
    example = ROOT / "examples" / "05_float_to_binary" / "run.py"
    seen = runpy.run_path(str(example))["main"](tmp_path)
    assert min(seen.values()) >= seen["floats"] - 0.03
    printed = capsys.readouterr().out
    assert "verified: True" in printed
    codes, floats = re.search(r"([\d,]+) bytes of codes instead of ([\d,]+)", printed).groups()
    assert int(floats.replace(",", "")) > 12 * int(codes.replace(",", ""))


def test_the_page_runs_from_first_to_last(tmp_path) -> None:
    text = (ROOT / "docs" / "howto" / "float-to-binary.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    commands = 0
    for number, (language, block) in enumerate(BLOCK.findall(text)):
        if language == "python":
            exec(compile(block, f"block {number}", "exec"), names)
        elif language == "toml" and "[store]" in block:
            (tmp_path / "upgrade.toml").write_text(block, encoding="utf-8")
        elif language == "sh":
            for line in block.splitlines():
                program, *words = shlex.split(line, comments=True)
                if program == "hotfill":
                    done = CliRunner().invoke(app, words)
                    assert done.exit_code == 0, (line, done.stdout, done.stderr, done.exception)
                    commands += 1
    assert commands >= 11
