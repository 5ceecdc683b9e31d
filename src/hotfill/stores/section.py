"""[store] of a configuration file: which store, where, and how it is opened.

A store is one class here and one line in `StoreSection`. Its gallery is imported when it is opened:
it needs a client library, which is an extra.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from hotfill.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.stores.base import Gallery
    from hotfill.types import ModelId


@dataclass(frozen=True, slots=True)
class Existing:
    """What is there before hotfill: names of a table's columns, or files.

    None: the name that the store knows by itself, or there is none. told: how far copying them is:
    items done, of how many, and what is done with them.
    """

    id_column: str | None = None
    vector_column: str | None = None
    metadata_column: str | None = None
    index_file: Path | None = None
    ids_file: Path | None = None
    told: Callable[[int, int, str], None] = lambda done, total, what: None


class _StoreSection(BaseModel, ABC):
    """What the sections of all stores have. exact: compare with every vector, use no index."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    exact: bool = False

    @abstractmethod
    def open(self, folder: Path) -> Gallery:
        """Open the store. folder: that paths are relative to. Raises as the store does."""

    def adopt(self, folder: Path, model: ModelId, existing: Existing) -> Gallery:
        """Stamp what is there with the model that made its vectors, and open it.

        folder: that paths are relative to.
        Raises ConfigError for a store whose galleries are stamped when they are made.
        """
        raise ConfigError(f'a store of kind "{self.kind}" is stamped when it is made')

    def free_bytes(self, folder: Path) -> int | None:
        """Return how much room is left where the store lives; None where that is not known."""
        return shutil.disk_usage(folder).free

    @property
    def journal_dsn(self) -> str | None:
        """The database for a journal that names none; None where the store is not in one."""
        return None


class QdrantEdgeSection(_StoreSection):
    """Qdrant Edge, embedded, in the folder `path`.

    ef: candidates that a search of the graph keeps; the engine's default when left out.
    """

    kind: Literal["qdrant-edge"] = "qdrant-edge"
    path: str
    ef: int | None = None

    def open(self, folder: Path) -> Gallery:
        """Open the store."""
        from hotfill.stores.qdrant_edge import QdrantEdgeGallery  # an extra

        return QdrantEdgeGallery.open(folder / self.path, exact=self.exact, ef=self.ef)


class LanceDBSection(_StoreSection):
    """The `table` of the LanceDB database in the folder `path`."""

    kind: Literal["lancedb"] = "lancedb"
    path: str
    table: str = "items"

    def open(self, folder: Path) -> Gallery:
        """Open the store."""
        from hotfill.stores.lancedb import LanceDBGallery  # an extra

        return LanceDBGallery.open(folder / self.path, table=self.table, exact=self.exact)

    def adopt(self, folder: Path, model: ModelId, existing: Existing) -> Gallery:
        """Stamp a table."""
        from hotfill.stores.lancedb import LanceDBGallery  # an extra

        return LanceDBGallery.adopt(
            folder / self.path,
            model,
            table=self.table,
            id_column=existing.id_column or "id",
            vector_column=existing.vector_column or "embedding",
            exact=self.exact,
        )


class IndexFilesSection(_StoreSection):
    """FAISS in memory, its truth in SQLite in the folder `path`.

    index: of large sides: `flat` is exact, `hnsw` a graph, `ivf` parts.
    ef: candidates that a walk along a graph keeps, 64 when left out.
    """

    kind: Literal["index-files"] = "index-files"
    path: str
    index: Literal["flat", "hnsw", "ivf"] = "flat"
    ef: int | None = None

    def open(self, folder: Path) -> Gallery:
        """Open the store."""
        from hotfill.stores.index_files import IndexFilesGallery  # an extra

        return IndexFilesGallery.open(
            folder / self.path, index=self.index, exact=self.exact, ef=self.ef
        )

    def adopt(self, folder: Path, model: ModelId, existing: Existing) -> Gallery:
        """Make a gallery from an index file."""
        from hotfill.stores.index_files import IndexFilesGallery  # an extra

        if existing.index_file is None:
            raise ConfigError("name the index that is there: --index-file, and --ids-file")
        return IndexFilesGallery.adopt(
            folder / self.path,
            model,
            index_file=existing.index_file,
            ids_file=existing.ids_file,
            index=self.index,
            exact=self.exact,
            ef=self.ef,
            told=existing.told,
        )


class _ServerSection(_StoreSection):
    """What the sections of servers have. timeout_seconds: of one call; 0 for none.

    ef: candidates that a search of an index keeps; the server's default when left out.
    """

    ef: int | None = None
    timeout_seconds: float = 120.0

    def free_bytes(self, folder: Path) -> int | None:
        """Return None: a server's disk is not seen from here."""
        return None


class PostgresSection(_ServerSection):
    """PostgreSQL with pgvector: the `table` (or "schema.table") of the server that `dsn` names.

    dsn: a connection string or URL of libpq, or a URL of SQLAlchemy.
    connections: the most at a time.
    rows: which rows of the table are the gallery, by columns and their values; left out, all that
        were adopted.
    """

    kind: Literal["postgres"] = "postgres"
    dsn: str
    table: str = "items"
    rows: dict[str, str] | None = None
    connections: int = 8

    def open(self, folder: Path) -> Gallery:
        """Open the store."""
        from hotfill.stores.postgres import PostgresGallery  # an extra

        return PostgresGallery.open(self.dsn, **self._options)

    def adopt(self, folder: Path, model: ModelId, existing: Existing) -> Gallery:
        """Stamp a table."""
        from hotfill.stores.postgres import PostgresGallery  # an extra

        return PostgresGallery.adopt(
            self.dsn,
            model,
            id_column=existing.id_column,
            vector_column=existing.vector_column,
            metadata_column=existing.metadata_column,
            **self._options,
        )

    @property
    def journal_dsn(self) -> str | None:
        """The store's own database."""
        return self.dsn

    @property
    def _options(self) -> dict[str, Any]:
        schema, dot, table = self.table.partition(".")
        return {
            "schema": schema if dot else "public",
            "table": table if dot else self.table,
            "rows": self.rows,
            "exact": self.exact,
            "ef": self.ef,
            "connections": self.connections,
            "timeout_seconds": self.timeout_seconds,
        }


class _DocumentsSection(_ServerSection):
    """What is adopted without columns: items are called by their keys."""

    location: str

    def _vector_of(self, existing: Existing) -> str | None:
        if (existing.id_column, existing.metadata_column) != (None, None):
            raise ConfigError(
                f'a store of kind "{self.kind}" knows its items by their own keys, and all else in '
                "them is metadata: leave --id-column and --metadata-column out"
            )
        return existing.vector_column


class _CollectionSection(_DocumentsSection):
    """A collection of a server, or of the client's own engine.

    location: the server's address, or a file or folder for the client's own engine.
    """

    collection: str = "items"

    def _place(self, folder: Path) -> str:
        return self.location if "://" in self.location else str(folder / self.location)


class QdrantSection(_CollectionSection):
    """The `collection` of a Qdrant server. Its key is read from QDRANT_API_KEY.

    location: the server's address, or a folder for the client's own engine.
    """

    kind: Literal["qdrant"] = "qdrant"

    def open(self, folder: Path) -> Gallery:
        """Open the store."""
        from hotfill.stores.qdrant import QdrantGallery  # an extra

        return QdrantGallery.open(self._place(folder), **self._options)

    def adopt(self, folder: Path, model: ModelId, existing: Existing) -> Gallery:
        """Stamp a collection."""
        from hotfill.stores.qdrant import QdrantGallery  # an extra

        vector = self._vector_of(existing)
        return QdrantGallery.adopt(self._place(folder), model, vector=vector, **self._options)

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "collection": self.collection,
            "api_key": os.environ.get("QDRANT_API_KEY"),
            "exact": self.exact,
            "ef": self.ef,
            "timeout_seconds": self.timeout_seconds,
        }


class MilvusSection(_CollectionSection):
    """The `collection` of a Milvus server. Its user or key is read from MILVUS_TOKEN.

    location: the server's address, or a file for Milvus Lite. database: the server's default one
        when left out. fresh: searches wait until they see every write of this process.
    """

    kind: Literal["milvus"] = "milvus"
    database: str = ""
    fresh: bool = False

    def open(self, folder: Path) -> Gallery:
        """Open the store."""
        from hotfill.stores.milvus import MilvusGallery  # an extra

        return MilvusGallery.open(self._place(folder), **self._options)

    def adopt(self, folder: Path, model: ModelId, existing: Existing) -> Gallery:
        """Stamp a collection."""
        from hotfill.stores.milvus import MilvusGallery  # an extra

        vector = self._vector_of(existing)
        return MilvusGallery.adopt(self._place(folder), model, vector=vector, **self._options)

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "collection": self.collection,
            "token": os.environ.get("MILVUS_TOKEN", ""),
            "database": self.database,
            "exact": self.exact,
            "ef": self.ef,
            "fresh": self.fresh,
            "timeout_seconds": self.timeout_seconds,
        }


class RedisSection(_DocumentsSection):
    """The `index` of a Redis server with its query engine. The password is in REDIS_PASSWORD.

    location: the server's URL, "redis://" or "rediss://". index: the adopted one, or the name of a
        gallery of hotfill's own.
    """

    kind: Literal["redis"] = "redis"
    index: str = "items"

    def open(self, folder: Path) -> Gallery:
        """Open the store."""
        from hotfill.stores.redis import RedisGallery  # an extra

        return RedisGallery.open(self.location, **self._options)

    def adopt(self, folder: Path, model: ModelId, existing: Existing) -> Gallery:
        """Stamp an index."""
        from hotfill.stores.redis import RedisGallery  # an extra

        vector = self._vector_of(existing) or "embedding"
        return RedisGallery.adopt(self.location, model, vector=vector, **self._options)

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "password": os.environ.get("REDIS_PASSWORD"),
            "exact": self.exact,
            "ef": self.ef,
            "timeout_seconds": self.timeout_seconds,
        }


class ChromaSection(_CollectionSection):
    """The `collection` of Chroma: embedded, or of its server. A token is read from CHROMA_TOKEN.

    location: the server's address, or the folder of the embedded engine.
    ef: of collections that hotfill makes. tenant, database: Chroma's default ones when left out.
    """

    kind: Literal["chroma"] = "chroma"
    tenant: str = "default_tenant"
    database: str = "default_database"

    def open(self, folder: Path) -> Gallery:
        """Open the store."""
        from hotfill.stores.chroma import ChromaGallery  # an extra

        return ChromaGallery.open(self._place(folder), **self._options)

    def adopt(self, folder: Path, model: ModelId, existing: Existing) -> Gallery:
        """Stamp a collection."""
        from hotfill.stores.chroma import ChromaGallery  # an extra

        if self._vector_of(existing) is not None:
            raise ConfigError("a row of Chroma has one vector: leave --vector-column out")
        return ChromaGallery.adopt(self._place(folder), model, **self._options)

    def free_bytes(self, folder: Path) -> int | None:
        """Return the room for an embedded engine; None for a server."""
        return None if "://" in self.location else shutil.disk_usage(folder).free

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "collection": self.collection,
            "tenant": self.tenant,
            "database": self.database,
            "exact": self.exact,
            "ef": self.ef,
            "timeout_seconds": self.timeout_seconds,
        }


def _with_kind(values: Any) -> Any:
    """Take the embedded store where no kind is named."""
    return {"kind": "qdrant-edge", **values} if isinstance(values, dict) else values


StoreSection: TypeAlias = Annotated[
    QdrantEdgeSection
    | LanceDBSection
    | IndexFilesSection
    | PostgresSection
    | QdrantSection
    | MilvusSection
    | RedisSection
    | ChromaSection,
    Field(discriminator="kind"),
    BeforeValidator(_with_kind),
]
"""The section of one of the stores, told apart by `kind`."""
