"""Galleries in Milvus for the conformance suite: in Milvus Lite, and on a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotfill.stores import Gallery
from hotfill.types import ModelId
from tests import milvus

_PLACE = "place.json"


def create(folder: Path, model: ModelId) -> Gallery:
    """Make a gallery of Milvus Lite in a folder. It shows every write at once."""
    return _create(folder, model, {"location": str(folder / "lite.db")})


def create_on_server(folder: Path, model: ModelId) -> Gallery:
    """Make a gallery on the server of this process; a folder stands for it."""
    if milvus.MISSING:
        pytest.skip("the package milvus, which has the server, exists for Linux on x86-64 only")
    place = {"location": milvus.server(), "collection": milvus.fresh_name(), "fresh": True}
    return _create(folder, model, place)


def _create(folder: Path, model: ModelId, place: dict[str, object]) -> Gallery:
    from hotfill.stores.milvus import MilvusGallery

    folder.mkdir()
    (folder / _PLACE).write_text(json.dumps(place))
    return MilvusGallery.create(model=model, **place, exact=True)


def open_gallery(folder: Path) -> Gallery:
    """Open it, in this or another process."""
    from hotfill.stores.milvus import MilvusGallery

    return MilvusGallery.open(**json.loads((folder / _PLACE).read_text()), exact=True)
