"""Which stores are measured, and how each is made."""

from __future__ import annotations

from pathlib import Path

from benchmarks.stores import plain
from hotfill.stores import MemoryGallery


class PlainMemory:
    """The reference store has no engine below it: it is compared with itself."""

    def __init__(self, model) -> None:
        self.model, self.gallery = model, MemoryGallery(model)

    def upsert(self, names, rows) -> None:
        self.gallery.upsert(names, rows, space=self.model)

    def search(self, query, k) -> None:
        self.gallery.search({self.model: query[None]}, k)

    def close(self) -> None:
        self.gallery.close()


def memory(folder: Path, model):
    return PlainMemory(model), MemoryGallery(model)


def qdrant_edge(folder: Path, model):
    from hotfill.stores.qdrant_edge import QdrantEdgeGallery

    beside = plain.PlainQdrantEdge(folder / "plain", model.dimension)
    return beside, QdrantEdgeGallery.create(folder / "gallery", model, exact=True)


def postgres(folder: Path, model):
    from hotfill.stores.postgres import PostgresGallery
    from tests.postgres import fresh_schema, server

    dsn, schema = server().dsn, fresh_schema()
    beside = plain.PlainPostgres(dsn, schema, model.dimension)
    return beside, PostgresGallery.create(dsn, model, schema=schema, exact=True)


def lancedb(folder: Path, model):
    from hotfill.stores.lancedb import LanceDBGallery

    beside = plain.PlainLanceDB(folder / "plain", model.dimension)
    return beside, LanceDBGallery.create(folder / "gallery", model, exact=True)


def faiss_files(folder: Path, model):
    from hotfill.stores.index_files import IndexFilesGallery

    beside = plain.PlainFaiss(folder, model.dimension)
    return beside, IndexFilesGallery.create(folder / "gallery", model)


def qdrant_local(folder: Path, model):
    from hotfill.stores.qdrant import QdrantGallery

    beside = plain.PlainQdrantLocal(folder / "plain", model.dimension)
    return beside, QdrantGallery.create(str(folder / "gallery"), model)


def redis(folder: Path, model):
    from hotfill.stores.redis import RedisGallery
    from tests.redis_server import fresh_name, server

    beside = plain.PlainRedis(server().url, fresh_name(), model.dimension)
    return beside, RedisGallery.create(server().url, model, index=fresh_name(), exact=True)


def milvus_lite(folder: Path, model):
    from hotfill.stores.milvus import MilvusGallery

    beside = plain.PlainMilvusLite(folder / "plain", model.dimension)
    return beside, MilvusGallery.create(str(folder / "gallery.db"), model, exact=True)


STORES = {
    "memory": memory,
    "qdrant-edge": qdrant_edge,
    "postgres": postgres,
    "lancedb": lancedb,
    "faiss-files": faiss_files,
    "redis": redis,
    "qdrant-local": qdrant_local,
    "milvus-lite": milvus_lite,
}
