"""The page about Chroma, run from first to last, with the embedded engine and with a server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

chromadb = pytest.importorskip("chromadb")

from tests import chroma  # noqa: E402
from tests.examples.howto import phase, run_page, shell  # noqa: E402, F401

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "chroma.md"


def check(said, client, capsys):
    assert "200 items" in said[0]
    assert phase("upgrade.toml") == "completed"
    assert "'ids': [['19'" in capsys.readouterr().out
    collection = client.get_collection("products", embedding_function=None)
    found = collection.get(include=["embeddings", "documents", "metadatas"])
    assert found["embeddings"].shape == (200, 256)
    titles = sys.modules["my_models"].TITLES
    for item_id, document, metadata in zip(
        found["ids"], found["documents"], found["metadatas"], strict=True
    ):
        assert document == titles[item_id]
        assert metadata["number"] == int(item_id)
        assert metadata["words"] == document.split()
    assert sorted(c.name for c in client.list_collections()) == ["products", "products.hotfill"]


@pytest.mark.usefixtures("shell")
def test_the_page_about_chroma_runs(tmp_path, capsys):
    said = run_page(PAGE)
    with chromadb.PersistentClient(tmp_path / "chroma") as client:
        check(said, client, capsys)


@pytest.fixture
def sessions_closed(monkeypatch):
    """Close what Chroma's client leaves open when it is closed (1.5.9)."""
    made, connect = [], chromadb.HttpClient

    def remembered(*words, **options):
        made.append(connect(*words, **options))
        return made[-1]

    monkeypatch.setattr(chromadb, "HttpClient", remembered)
    yield
    for client in made:
        client._server._session.close()
        client._admin_client._server._session.close()


@pytest.mark.slow
@pytest.mark.usefixtures("shell", "sessions_closed")
def test_the_page_about_chroma_runs_on_a_server(tmp_path, capsys, monkeypatch):
    server = chroma.Server(tmp_path / "server")
    page = tmp_path / "page.md"
    page.write_text(
        PAGE.read_text()
        .replace('chromadb.PersistentClient("chroma")', f"chromadb.HttpClient(port={server.port})")
        .replace('location = "chroma" ', f'location = "{server.address}" ')
    )
    try:
        said = run_page(page)
        check(said, chromadb.HttpClient(port=server.port), capsys)
    finally:
        server.kill()
