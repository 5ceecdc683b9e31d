"""The page about stores: its suite runs as it says, on a store of somebody else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src"
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "stores.md"

# A stand-in for what somebody wrote: by its own name, with `create` as most stores have it.
MINE = """
from hotfill.stores import MemoryGallery


class MyGallery(MemoryGallery):
    @classmethod
    def create(cls, path, model):
        return cls(model)
"""
FAULTY = """

    def _count(self, space, origin):
        return super()._count(space, origin) + 1
"""


def run_suite(folder, store):
    files = re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert [name for name, _ in files] == ["conftest.py", "test_my_store.py"]
    for name, text in (*files, ("my_store.py", store), ("pytest.ini", "[pytest]\n")):
        (folder / name).write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_store.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{SOURCES}:{folder}"},
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_the_suite_runs_on_a_store_of_ones_own(tmp_path):
    done = run_suite(tmp_path, MINE)
    assert done.returncode == 0, done.stdout
    passed, skipped = re.search(r"(\d+) passed, (\d+) skipped", done.stdout).groups()
    assert int(passed) > 100
    assert 0 < int(skipped) < 10  # those of galleries that are opened again


def test_the_suite_finds_a_fault_and_shows_what_was_compared(tmp_path):
    done = run_suite(tmp_path, MINE + FAULTY)
    assert done.returncode == 1
    assert re.search(r"assert \d+ == \d+", done.stdout)
