"""Galleries in Chroma for the conformance suite: embedded, and on its own server."""

from __future__ import annotations

import json
from pathlib import Path

from hotfill.stores import Gallery
from hotfill.types import ModelId
from tests import chroma

_PLACE = "place.json"


def create(folder: Path, model: ModelId) -> Gallery:
    """Make a gallery of the embedded engine in a folder."""
    return _create(folder, model, {"location": str(folder / "chroma")})


def create_on_server(folder: Path, model: ModelId) -> Gallery:
    """Make a gallery on the server of this process; a folder stands for it."""
    place = {"location": chroma.server(), "collection": chroma.fresh_name()}
    return _create(folder, model, place)


def _create(folder: Path, model: ModelId, place: dict[str, str]) -> Gallery:
    from hotfill.stores.chroma import ChromaGallery

    folder.mkdir()
    (folder / _PLACE).write_text(json.dumps(place))
    return ChromaGallery.create(model=model, **place, exact=True)


def open_gallery(folder: Path) -> Gallery:
    """Open it, in this or another process."""
    from hotfill.stores.chroma import ChromaGallery

    return ChromaGallery.open(**json.loads((folder / _PLACE).read_text()), exact=True)
