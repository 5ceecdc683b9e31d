"""The page about PostgreSQL, run from first to last against a real server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.examples.howto import put_command
from tests.postgres import server

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "postgresql.md"
BLOCK = re.compile(r"^```(python|sh|sql|toml)\n(.*?)^```$", re.M | re.S)
DATABASE = "howto_postgresql"


@pytest.fixture
def database(monkeypatch):
    """A database of its own, found by libpq's environment as on a reader's machine."""
    with psycopg.connect(server().dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    values = conninfo_to_dict(server().dsn)
    monkeypatch.setenv("PGHOST", values["host"])
    monkeypatch.setenv("PGUSER", values["user"])


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """`hotfill` as a command, whether or not it is installed as one."""
    put_command(tmp_path / "bin", monkeypatch)


def test_the_page_about_postgresql_runs(tmp_path, monkeypatch, database, shell):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setitem(sys.modules, "my_models", None)
    del sys.modules["my_models"]
    names: dict[str, object] = {}
    answers, said = [], []
    text = PAGE.read_text(encoding="utf-8").replace("dbname=postgres", f"dbname={DATABASE}")
    for kind, block in BLOCK.findall(text):
        if kind == "python":
            exec(compile(block, PAGE.name, "exec"), names)
        elif kind == "toml":
            Path("upgrade.toml").write_text(block)
        elif kind == "sql":
            with psycopg.connect(f"dbname={DATABASE}") as connection:
                cursor = connection.execute(block)
                answers.append(cursor.fetchall() if cursor.description else None)
        elif not block.startswith("pip "):
            done = subprocess.run(
                ["bash", "-e", "-c", block], capture_output=True, text=True, timeout=280
            )
            assert done.returncode == 0, (block, done)
            said.append(done.stdout)
    assert answers[-1] == [(256,)]
    with psycopg.connect(f"dbname={DATABASE}") as connection:
        columns = "SELECT * FROM products LIMIT 1"
        known = [column.name for column in connection.execute(columns).description]
        (filled,) = connection.execute("SELECT count(embedding) FROM products").fetchone()
    assert known[:3] == ["id", "title", "facts"]
    assert not any(name.startswith("hotfill_vector") for name in known)
    assert filled == 1200
    status = subprocess.run(
        ["hotfill", "status", "upgrade.toml", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(status.stdout)["phase"] == "completed"
    assert "1,200 items" in said[0]
