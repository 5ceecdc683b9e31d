"""The pages for people who have a framework's collection, run from first to last."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.examples.howto import put_command
from tests.postgres import server

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
RUNNER = Path(__file__).with_name("run_page.py")


@pytest.fixture
def follow(tmp_path, monkeypatch):
    """Run a page in a folder of its own, with `hotfill` as a command; give what was printed."""
    put_command(tmp_path / "bin", monkeypatch)

    def run(page, *replacements):
        words = [sys.executable, str(RUNNER), str(HOWTO / page), *replacements]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        status = subprocess.run(
            ["hotfill", "status", "upgrade.toml", "--json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(status.stdout)["phase"] == "completed"
        return done.stdout

    return run


@pytest.mark.slow
def test_the_page_about_langchain_on_postgresql_runs(follow, monkeypatch):
    pytest.importorskip("langchain_postgres")
    with psycopg.connect(server().dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE howto_langchain"))
    values = conninfo_to_dict(server().dsn)
    monkeypatch.setenv("PGHOST", values["host"])
    monkeypatch.setenv("PGUSER", values["user"])
    said = follow(
        "langchain-postgresql.md",
        "dbname=postgres=>dbname=howto_langchain",
        "psycopg:///postgres=>psycopg:///howto_langchain",
    )
    assert "made by LangChain's PGVector" in said
    assert said.splitlines()[-2:] == [
        "purple elephant, late",
        "{'colour': 'blue', 'number': 42}",
    ]


@pytest.mark.slow
def test_the_page_about_llama_index_on_qdrant_runs(follow):
    pytest.importorskip("llama_index.vector_stores.qdrant")
    said = follow("llama-index-qdrant.md")
    assert "made by LlamaIndex's QdrantVectorStore" in said
    assert said.splitlines()[-2:] == ["purple elephant, late", "blue car number 42"]
