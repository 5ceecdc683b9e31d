"""Every store, made fresh for each test. A new store is one entry in STORES."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from hotfill.stores import Gallery, MemoryGallery
from hotfill.testing import Store
from hotfill.testing.models import OLD, STRANGER
from hotfill.types import ModelId
from tests.conformance import chroma_store as chroma_stores
from tests.conformance import index_files_store as index_files_stores
from tests.conformance import lancedb_store as lancedb_stores
from tests.conformance import milvus_store as milvus_stores
from tests.conformance import qdrant_store as qdrant_stores
from tests.conformance import redis_store as redis_stores
from tests.conformance.lossless_codec import LosslessCodec


def memory_store(folder: Path) -> Store:
    return Store(create=MemoryGallery)


def qdrant_edge_store(folder: Path) -> Store:
    from hotfill.stores.qdrant_edge import QdrantEdgeGallery

    paths: dict[int, Path] = {}

    def create(model: ModelId) -> Gallery:
        path = folder / f"gallery{len(paths)}"
        gallery = QdrantEdgeGallery.create(path, model, exact=True)
        paths[id(gallery)] = path
        return gallery

    def reopen(gallery: Gallery) -> Gallery:
        gallery.close()
        opened = QdrantEdgeGallery.open(paths[id(gallery)], exact=True)
        paths[id(opened)] = paths[id(gallery)]
        return opened

    return Store(create=create, reopen=reopen)


def postgres_store(folder: Path) -> Store:
    from hotfill.stores.postgres import PostgresGallery
    from tests.postgres import fresh_schema, server

    places: dict[int, Path] = {}

    def create(model: ModelId) -> Gallery:
        place = {"dsn": server().dsn, "schema": fresh_schema()}
        gallery = PostgresGallery.create(model=model, **place, exact=True)
        # A folder stands for the gallery, so that another process can be told where it is.
        here = folder / f"gallery{len(places)}"
        here.mkdir()
        (here / "place.json").write_text(json.dumps(place))
        places[id(gallery)] = here
        return gallery

    def reopen(gallery: Gallery) -> Gallery:
        gallery.close()
        opened = open_postgres(places[id(gallery)])
        places[id(opened)] = places[id(gallery)]
        return opened

    return Store(create=create, reopen=reopen)


def open_postgres(folder: Path) -> Gallery:
    """Open a gallery that a `postgres_store` made, in this or another process."""
    from hotfill.stores.postgres import PostgresGallery

    return PostgresGallery.open(**json.loads((folder / "place.json").read_text()), exact=True)


def coded_store(folder: Path) -> Store:
    """An embedded store that keeps one space as codes; here codes that lose nothing."""
    from hotfill.stores.qdrant_edge import QdrantEdgeGallery

    places: dict[int, Path] = {}

    def create(model: ModelId) -> Gallery:
        here = folder / f"gallery{len(places)}"
        QdrantEdgeGallery.create(here / "store", STRANGER, exact=True).close()
        gallery = open_coded(here)
        gallery.add_space(model)
        gallery.drop_space(STRANGER)
        places[id(gallery)] = here
        return gallery

    def reopen(gallery: Gallery) -> Gallery:
        gallery.close()
        opened = open_coded(places[id(gallery)])
        places[id(opened)] = places[id(gallery)]
        return opened

    return Store(create=create, reopen=reopen)


def open_coded(folder: Path) -> Gallery:
    """Open a gallery that a `coded_store` made, in this or another process."""
    from hotfill.stores.coded import CodedGallery
    from hotfill.stores.qdrant_edge import QdrantEdgeGallery

    inner = QdrantEdgeGallery.open(folder / "store", exact=True)
    return CodedGallery(inner, folder / "codes", [LosslessCodec(OLD)])


def qdrant_store(folder: Path) -> Store:
    return _in_folders(folder, qdrant_stores.create, qdrant_stores.open_gallery)


def milvus_store(folder: Path) -> Store:
    return _in_folders(folder, milvus_stores.create, milvus_stores.open_gallery)


def milvus_server_store(folder: Path) -> Store:
    return _in_folders(folder, milvus_stores.create_on_server, milvus_stores.open_gallery)


def redis_store(folder: Path) -> Store:
    return _in_folders(folder, redis_stores.create, redis_stores.open_gallery)


def redis_json_store(folder: Path) -> Store:
    return _in_folders(folder, redis_stores.create_of_json, redis_stores.open_gallery)


def chroma_store(folder: Path) -> Store:
    return _in_folders(folder, chroma_stores.create, chroma_stores.open_gallery)


def chroma_server_store(folder: Path) -> Store:
    return _in_folders(folder, chroma_stores.create_on_server, chroma_stores.open_gallery)


def lancedb_store(folder: Path) -> Store:
    return _in_folders(folder, lancedb_stores.create, lancedb_stores.open_gallery)


def index_files_store(folder: Path) -> Store:
    return _in_folders(folder, index_files_stores.create, index_files_stores.open_gallery)


def _in_folders(
    folder: Path,
    make: Callable[[Path, ModelId], Gallery],
    open_gallery: Callable[[Path], Gallery],
) -> Store:
    """A store whose galleries are known by a folder each."""
    places: dict[int, Path] = {}

    def create(model: ModelId) -> Gallery:
        here = folder / f"gallery{len(places)}"
        gallery = make(here, model)
        places[id(gallery)] = here
        return gallery

    def reopen(gallery: Gallery) -> Gallery:
        gallery.close()
        opened = open_gallery(places[id(gallery)])
        places[id(opened)] = places[id(gallery)]
        return opened

    return Store(create=create, reopen=reopen)


STORES = {
    "memory": memory_store,
    "qdrant_edge": qdrant_edge_store,
    "postgres": postgres_store,
    "qdrant": qdrant_store,
    "milvus": milvus_store,
    "milvus_server": milvus_server_store,
    "redis": redis_store,
    "redis_json": redis_json_store,
    "chroma": chroma_store,
    "chroma_server": chroma_server_store,
    "coded": coded_store,
    "lancedb": lancedb_store,
    "index_files": index_files_store,
}
SLOW = {"milvus_server", "redis_json", "chroma_server"}
"""Left out of the default run: servers that take long for each collection or each write, and the
second kind of documents in a store that is in it."""
UNHURRIED = {
    "qdrant",
    "milvus",
    "milvus_server",
    "lancedb",
    "redis",
    "chroma",
    "chroma_server",
}
"""Tried on fewer examples: small engines, servers, and LanceDB, where each read opens files."""


def named(names: Iterable[str]) -> list[ParameterSet]:
    """Make the names of stores parameters; slow ones are marked so."""
    return [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in names]


PERSISTENT = named(name for name in STORES if name != "memory")


def made_by(name: str, folder: Path) -> Iterator[Store]:
    with STORES[name](folder) as store:
        yield store


@pytest.fixture(params=named(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    yield from made_by(request.param, tmp_path)


@pytest.fixture(params=PERSISTENT)
def persistent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    yield from made_by(request.param, tmp_path)
