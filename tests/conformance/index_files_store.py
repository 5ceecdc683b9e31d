"""How galleries in index files are made and opened in the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotfill.stores import Gallery
from hotfill.types import ModelId


def create(folder: Path, model: ModelId) -> Gallery:
    pytest.importorskip("faiss")
    from hotfill.stores.index_files import IndexFilesGallery

    return IndexFilesGallery.create(folder, model)


def open_gallery(folder: Path) -> Gallery:
    from hotfill.stores.index_files import IndexFilesGallery

    return IndexFilesGallery.open(folder)
