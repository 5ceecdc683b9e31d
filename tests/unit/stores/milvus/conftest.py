"""Galleries of Milvus Lite."""

from __future__ import annotations

import pytest

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")


@pytest.fixture
def location(tmp_path):
    """A file for Milvus Lite."""
    return str(tmp_path / "lite.db")
