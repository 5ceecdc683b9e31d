"""Runs a how-to page from first to last, in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = re.compile(
    r"^```(python|sh)\n(.*?)^```$|^`(\w+\.toml)`:\n\n```toml\n(.*?)^```$", re.M | re.S
)


def put_command(folder, monkeypatch):
    """Let `hotfill` be a command, whether or not it is installed as one. folder: for its file."""
    folder.mkdir()
    command = folder / "hotfill"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hotfill.cli "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """`hotfill` as a command, in a folder of its own."""
    put_command(tmp_path / "bin", monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setitem(sys.modules, "my_models", None)
    del sys.modules["my_models"]


def run_page(page):
    """Do what the page says; give what its commands said."""
    names: dict[str, object] = {}
    said = []
    for kind, text, name, content in BLOCK.findall(page.read_text(encoding="utf-8")):
        if name:
            Path(name).write_text(content)
        elif kind == "python":
            exec(compile(text, page.name, "exec"), names)
        elif not text.startswith("pip "):
            done = subprocess.run(
                ["bash", "-e", "-c", text], capture_output=True, text=True, timeout=280
            )
            assert done.returncode == 0, (text, done)
            said.append(done.stdout)
    return said


def phase(config):
    done = subprocess.run(
        ["hotfill", "status", config, "--json"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)["phase"]
