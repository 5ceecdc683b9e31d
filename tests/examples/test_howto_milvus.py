"""The page about Milvus, run from first to last, with Milvus Lite."""

from __future__ import annotations

from pathlib import Path

import pytest

pymilvus = pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

from hotfill.stores.milvus import MilvusGallery  # noqa: E402
from tests.examples.howto import phase, run_page, shell  # noqa: E402, F401

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "milvus.md"


@pytest.mark.usefixtures("shell")
def test_the_page_about_milvus_runs(tmp_path):
    said = run_page(PAGE)
    assert "200 items" in said[0]
    assert phase("upgrade.toml") == "completed"
    with MilvusGallery.open(str(tmp_path / "milvus.db"), collection="products") as gallery:
        (space,) = gallery.spaces
        assert (space.dimension, len(gallery)) == (256, 200)
        assert gallery.get(["17"])[0].metadata == {"number": 17}
    with MilvusGallery.open(str(tmp_path / "milvus.db"), collection="copies") as gallery:
        assert gallery.get(["17"])[0].metadata == {"number": 17}
