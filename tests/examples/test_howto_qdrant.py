"""The page about Qdrant, run from first to last; the client's own engine is in a server's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.howto import phase, run_page, shell  # noqa: F401

pytest.importorskip("qdrant_edge")
qdrant_client = pytest.importorskip("qdrant_client")

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "qdrant.md"


@pytest.mark.usefixtures("shell")
def test_the_page_about_qdrant_runs(tmp_path):
    said = run_page(PAGE)
    assert "200 items" in said[1]
    assert phase("edge.toml") == phase("server.toml") == "completed"
    client = qdrant_client.QdrantClient(path=str(tmp_path / "qdrant"))
    vectors = client.get_collection("products").config.params.vectors
    records, _ = client.scroll("products", limit=1000, with_vectors=True)
    client.close()
    (name,) = [name for name in vectors if name]
    assert vectors[name].size == 256
    assert len(records) == 200
    assert all(list(record.vector) == [name] for record in records)
    assert all(record.payload["number"] == record.id for record in records)
