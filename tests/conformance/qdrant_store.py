"""Galleries in the local engine of qdrant-client, for the conformance suite."""

from __future__ import annotations

from pathlib import Path

from hotfill.stores import Gallery
from hotfill.types import ModelId


def create(folder: Path, model: ModelId) -> Gallery:
    """Make a gallery in a folder."""
    from hotfill.stores.qdrant import QdrantGallery

    return QdrantGallery.create(str(folder), model)


def open_gallery(folder: Path) -> Gallery:
    """Open it, in this or another process."""
    from hotfill.stores.qdrant import QdrantGallery

    return QdrantGallery.open(str(folder))
