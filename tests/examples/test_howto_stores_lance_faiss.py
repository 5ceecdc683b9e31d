"""The pages about LanceDB and about index files, run from first to last."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hotfill.cli.app import app

PAGES = Path(__file__).parents[2] / "docs" / "howto"
BLOCK = re.compile(r"^```(python|sh|toml)\n(.*?)^```$", re.M | re.S)


def hotfill(line: str) -> str:
    """Run one command of a page. In this process: the client of LanceDB takes seconds to import."""
    program, *words = shlex.split(line)
    assert program == "hotfill", line
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (line, result.output, result.exception)
    return result.stdout


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the blocks of a page in a folder of its own; give what they left and what was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setitem(sys.modules, "my_models", None)
    del sys.modules["my_models"]

    def page(name):
        names: dict[str, object] = {}
        said = {}
        for kind, block in BLOCK.findall((PAGES / name).read_text(encoding="utf-8")):
            if kind == "python":
                exec(compile(block, name, "exec"), names)
            elif kind == "toml":
                Path("upgrade.toml").write_text(block)
            elif not block.startswith("pip "):
                said |= {line: hotfill(line) for line in block.splitlines()}
        assert json.loads(hotfill("hotfill status upgrade.toml --json"))["phase"] == "completed"
        stamped = next(text for line, text in said.items() if line.startswith("hotfill adopt"))
        assert "600 items" in stamped
        return names, said

    return page


def test_the_page_about_lancedb_runs(run):
    lancedb = pytest.importorskip("lancedb")
    names, said = run("lancedb.md")
    table = lancedb.connect("db").open_table("products")
    assert table.schema.names[:4] == ["id", "title", "price", "fresh"]
    assert "vector" not in table.schema.names
    assert table.count_rows(f"`{names['column'].name}` IS NOT NULL") == 600
    assert "17" in said["hotfill search upgrade.toml --like 17 -k 3"]


def test_the_page_about_index_files_runs(run):
    faiss = pytest.importorskip("faiss")
    names, said = run("index-files.md")
    assert faiss.read_index("products.faiss").ntotal == 600
    upgraded = faiss.read_index("products-new.faiss")
    ids = Path("products-new.txt").read_text(encoding="utf-8").splitlines()
    assert (upgraded.ntotal, upgraded.d, len(ids)) == (600, 256, 600)
    model = names["model"]
    _, found = upgraded.search(model([names["titles"]["p0017"]]), 1)
    assert ids[found[0, 0]] == "p0017"
    assert "p0017" in said["hotfill search upgrade.toml --like p0017 -k 3"]
