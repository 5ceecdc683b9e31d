"""Galleries in Redis for the conformance suite: as hashes and as JSON documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotfill.stores import Gallery
from hotfill.types import ModelId
from tests import redis_server

_PLACE = "place.json"


def create(folder: Path, model: ModelId) -> Gallery:
    """Make a gallery of hashes on the server of this process; a folder stands for it."""
    return _create(folder, model, "hash")


def create_of_json(folder: Path, model: ModelId) -> Gallery:
    """Make one of JSON documents."""
    return _create(folder, model, "json")


def _create(folder: Path, model: ModelId, kind: str) -> Gallery:
    from hotfill.stores.redis import RedisGallery

    if redis_server.MISSING:
        pytest.skip("the packages that have the server exist for Linux on x86-64 only")
    place = {"location": redis_server.server().url, "index": redis_server.fresh_name()}
    folder.mkdir()
    (folder / _PLACE).write_text(json.dumps(place))
    return RedisGallery.create(model=model, **place, kind=kind, exact=True)


def open_gallery(folder: Path) -> Gallery:
    """Open it, in this or another process."""
    from hotfill.stores.redis import RedisGallery

    return RedisGallery.open(**json.loads((folder / _PLACE).read_text()), exact=True)
