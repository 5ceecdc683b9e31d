"""How galleries in LanceDB are made and opened in the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotfill.stores import Gallery
from hotfill.types import ModelId


def create(folder: Path, model: ModelId) -> Gallery:
    pytest.importorskip("lancedb")
    from hotfill.stores.lancedb import LanceDBGallery

    return LanceDBGallery.create(folder, model, exact=True)


def open_gallery(folder: Path) -> Gallery:
    from hotfill.stores.lancedb import LanceDBGallery

    return LanceDBGallery.open(folder, exact=True)
