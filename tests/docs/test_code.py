"""The code of the pages runs, from the first block of a page to the last."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.docs.pages import DOCS, ROOT, blocks, name_of, pages

RUN = ["docs/quickstart.md", "docs/concepts/backfill-curve.md", "docs/reference/http.md"]


def prepare(page, folder):
    """Make the files that a page says it needs."""
    random = np.random.default_rng(0)
    old = random.normal(size=(600, 16)).astype(np.float32)
    new = np.hstack([old, random.normal(size=(600, 8)).astype(np.float32)])
    files = {"old.npy": old, "new.npy": new}
    for block in blocks(page):
        for name in re.findall(r"<!-- needs files: (.*?) -->", block.marks):
            for each in name.split():
                np.save(folder / each, files[each])


@pytest.mark.parametrize("name", RUN)
def test_the_code_of_a_page_runs(name, tmp_path, monkeypatch):
    for package in ("qdrant_edge", "fastapi"):
        if find_spec(package) is None:
            pytest.skip(f"the page needs {package}")
    page = ROOT / name
    monkeypatch.chdir(tmp_path)
    prepare(page, tmp_path)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    names, ran = {}, 0
    for block in blocks(page):
        if block.title is not None:
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
        elif block.kind == "python":
            exec(compile(block.text, name, "exec"), names)
            ran += 1
        elif "<!-- run -->" in block.marks:
            done = subprocess.run(
                ["bash", "-e", "-c", block.text], env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
            ran += 1
    assert ran


def test_the_quickstart_finds_what_it_looks_for(tmp_path):
    """Its texts and models are good enough to see something."""
    files = {block.title: block.text for block in blocks(DOCS / "quickstart.md") if block.title}
    shop = {}
    exec(compile(files["my_shop.py"], "my_shop.py", "exec"), shop)
    model, texts = shop["new"](), shop["TEXTS"]
    scores = model(list(texts.values())) @ model(["yellow boat for guests"])[0]
    assert "yellow boat for guests" in list(texts.values())[int(scores.argmax())]


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    """Its ten lines, as they stand, on the embedded store, with models of the quickstart."""
    pytest.importorskip("qdrant_edge")
    page = list(blocks(DOCS / "quickstart.md"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_shop", raising=False)
    names = {}
    for block in page:
        if block.title is not None:
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
    subprocess.run([sys.executable, "fill.py"], check=True, cwd=tmp_path)
    with (tmp_path / "my_shop.py").open("a", encoding="utf-8") as shop:
        shop.write('TEXTS["a"] = "blue lamp"\n')  # the source has what the README writes
    ran = 0
    for block in blocks(ROOT / "README.md"):
        if block.kind == "python":
            exec(compile(block.text, "README.md", "exec"), names)
            ran += 1
    assert ran
    assert names["up"].phase == "completed"


def test_every_page_with_code_is_run_by_a_test():
    """A page of which no test knows would rot quietly."""
    tests = [each.read_text(encoding="utf-8") for each in (ROOT / "tests").rglob("test_*.py")]
    for page in pages():
        if any(block.kind == "python" for block in blocks(page)):
            assert any(page.name in test for test in tests), name_of(page)
