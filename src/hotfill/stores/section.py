"""[store] of a configuration file: which store, where, and how it is opened."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from hotfill.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from hotfill.stores.base import Gallery
    from hotfill.types import ModelId

# What only some kinds take; the first one of each kind is what it cannot do without.
_KEYS = {
    "qdrant-edge": ("path", "ef"),
    "lancedb": ("path", "table"),
    "index-files": ("path", "index", "ef"),
    "postgres": ("dsn", "table", "ef", "connections", "timeout_seconds"),
    "qdrant": ("location", "collection", "ef", "timeout_seconds"),
    "milvus": ("location", "collection", "database", "ef", "fresh", "timeout_seconds"),
}
_SERVERS = ("postgres", "qdrant", "milvus")


@dataclass(frozen=True, slots=True)
class Existing:
    """What is there before hotfill: names of a table's columns, or files. None: there is none."""

    id_column: str = "id"
    vector_column: str = "embedding"
    metadata_column: str | None = None
    index_file: Path | None = None
    ids_file: Path | None = None


class StoreSection(BaseModel):
    """Where the gallery lives.

    kind: `qdrant-edge`, embedded, in the folder `path`; `lancedb`, the `table` of the database in
        the folder `path`; `index-files`, FAISS in memory and its truth in the folder `path`;
        `postgres`, with pgvector, in the `table` (or "schema.table") of the server that the `dsn`
        names; `qdrant` or `milvus`, the `collection` of the server at the address `location`, or of
        the client's own engine in the folder or file `location`. Their keys are taken from the
        environment: QDRANT_API_KEY, MILVUS_TOKEN.
    index, exact, ef, fresh, database, connections, timeout_seconds: see the store's own page.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["qdrant-edge", "lancedb", "index-files", "postgres", "qdrant", "milvus"] = (
        "qdrant-edge"
    )
    path: str | None = None
    dsn: str | None = None
    location: str | None = None
    table: str = "items"
    collection: str = "items"
    database: str = ""
    fresh: bool = False
    index: Literal["flat", "hnsw", "ivf"] = "flat"
    exact: bool = False
    ef: int | None = None
    connections: int = 8
    timeout_seconds: float = 120.0

    def opened(self, folder: Path) -> Gallery:
        """Open the store. folder: that paths are relative to.

        Raises ConfigError when a key is missing or of another kind, and as the store does.
        """
        self.check()
        if self.kind == "postgres":
            from hotfill.stores.postgres import PostgresGallery  # an extra

            return PostgresGallery.open(self.dsn or "", **self._postgres_options)
        if self.kind == "qdrant":
            from hotfill.stores.qdrant import QdrantGallery  # an extra

            return QdrantGallery.open(self._location(folder), **self._qdrant_options)
        if self.kind == "milvus":
            from hotfill.stores.milvus import MilvusGallery  # an extra

            return MilvusGallery.open(self._location(folder), **self._milvus_options)
        if self.kind == "lancedb":
            from hotfill.stores.lancedb import LanceDBGallery  # an extra

            return LanceDBGallery.open(
                folder / (self.path or ""), table=self.table, exact=self.exact
            )
        if self.kind == "index-files":
            from hotfill.stores.index_files import IndexFilesGallery  # an extra

            return IndexFilesGallery.open(
                folder / (self.path or ""), index=self.index, exact=self.exact, ef=self.ef
            )
        from hotfill.stores.qdrant_edge import QdrantEdgeGallery  # an extra

        return QdrantEdgeGallery.open(folder / (self.path or ""), exact=self.exact, ef=self.ef)

    def stamped(self, folder: Path, model: ModelId, existing: Existing) -> Gallery:
        """Stamp what is there with the model that made its vectors, and open it.

        folder: that paths are relative to.
        Raises ConfigError for a store whose galleries are stamped when they are made.
        """
        self.check()
        if self.kind in ("qdrant", "milvus"):
            return self._stamped_collection(self._location(folder), model, existing)
        if self.kind == "lancedb":
            from hotfill.stores.lancedb import LanceDBGallery  # an extra

            return LanceDBGallery.adopt(
                folder / (self.path or ""),
                model,
                table=self.table,
                id_column=existing.id_column,
                vector_column=existing.vector_column,
                exact=self.exact,
            )
        if self.kind == "index-files":
            from hotfill.stores.index_files import IndexFilesGallery  # an extra

            if existing.index_file is None:
                raise ConfigError("name the index that is there: --index-file, and --ids-file")
            return IndexFilesGallery.adopt(
                folder / (self.path or ""),
                model,
                index_file=existing.index_file,
                ids_file=existing.ids_file,
                index=self.index,
                exact=self.exact,
                ef=self.ef,
            )
        if self.kind != "postgres":
            raise ConfigError(f'a store of kind "{self.kind}" is stamped when it is made')
        from hotfill.stores.postgres import PostgresGallery  # an extra

        return PostgresGallery.adopt(
            self.dsn or "",
            model,
            id_column=existing.id_column,
            vector_column=existing.vector_column,
            metadata_column=existing.metadata_column,
            **self._postgres_options,
        )

    def _stamped_collection(self, location: str, model: ModelId, existing: Existing) -> Gallery:
        if (existing.id_column, existing.metadata_column) != ("id", None):
            raise ConfigError(
                f'a store of kind "{self.kind}" knows its items by the keys of its points, and '
                "everything stored with their vectors is metadata: leave --id-column and "
                "--metadata-column out"
            )
        if self.kind == "qdrant":
            from hotfill.stores.qdrant import QdrantGallery  # an extra

            return QdrantGallery.adopt(
                location, model, vector=existing.vector_column, **self._qdrant_options
            )
        from hotfill.stores.milvus import MilvusGallery  # an extra

        return MilvusGallery.adopt(
            location, model, vector=existing.vector_column, **self._milvus_options
        )

    @property
    def _postgres_options(self) -> dict[str, Any]:
        schema, table = self.schema_and_table
        return {
            "schema": schema,
            "table": table,
            "exact": self.exact,
            "ef": self.ef,
            "connections": self.connections,
            "timeout_seconds": self.timeout_seconds,
        }

    @property
    def _qdrant_options(self) -> dict[str, Any]:
        return {
            "collection": self.collection,
            "api_key": os.environ.get("QDRANT_API_KEY"),
            "exact": self.exact,
            "ef": self.ef,
            "timeout_seconds": self.timeout_seconds,
        }

    @property
    def _milvus_options(self) -> dict[str, Any]:
        return {
            "collection": self.collection,
            "token": os.environ.get("MILVUS_TOKEN", ""),
            "database": self.database,
            "exact": self.exact,
            "ef": self.ef,
            "fresh": self.fresh,
            "timeout_seconds": self.timeout_seconds,
        }

    def _location(self, folder: Path) -> str:
        location = self.location or ""
        return location if "://" in location else str(folder / location)

    @property
    def schema_and_table(self) -> tuple[str, str]:
        """The two parts of `table`."""
        schema, dot, table = self.table.partition(".")
        return (schema, table) if dot else ("public", self.table)

    def free_bytes(self, folder: Path) -> int | None:
        """Tell how much room is left where the store lives; None where that is not known."""
        return None if self.kind in _SERVERS else shutil.disk_usage(folder).free

    def check(self) -> None:
        """Raise ConfigError when a key is missing, or is one of another kind of store."""
        takes = _KEYS[self.kind]
        for name in sorted(self.model_fields_set - set(takes)):
            kinds = [f'"{kind}"' for kind, names in _KEYS.items() if name in names]
            if kinds:
                raise ConfigError(
                    f"[store] {name}: only for kind = {' or '.join(kinds)}, this one is "
                    f'"{self.kind}"'
                )
        if getattr(self, takes[0]) is None:
            raise ConfigError(f'[store] of kind "{self.kind}" needs {takes[0]!r}')
