"""[store] of a configuration file: which store, where, and how it is opened."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from hotfill.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from hotfill.stores.base import Gallery
    from hotfill.types import ModelId

_ONLY_FOR = {
    "qdrant-edge": ("path",),
    "postgres": ("dsn", "table", "connections", "timeout_seconds"),
}


class StoreSection(BaseModel):
    """Where the gallery lives.

    kind: `qdrant-edge`, embedded, in the folder `path`; or `postgres`, with pgvector, in the
        `table` (or "schema.table") of the server that the `dsn` names.
    exact, ef, connections, timeout_seconds: see the store's own page.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["qdrant-edge", "postgres"] = "qdrant-edge"
    path: str | None = None
    dsn: str | None = None
    table: str = "items"
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

            schema, table = self.schema_and_table
            return PostgresGallery.open(
                self.dsn or "",
                schema=schema,
                table=table,
                exact=self.exact,
                ef=self.ef,
                connections=self.connections,
                timeout_seconds=self.timeout_seconds,
            )
        from hotfill.stores.qdrant_edge import QdrantEdgeGallery  # an extra

        return QdrantEdgeGallery.open(folder / (self.path or ""), exact=self.exact, ef=self.ef)

    def stamped(
        self, model: ModelId, id_column: str, vector_column: str, metadata_column: str | None
    ) -> Gallery:
        """Stamp a table that is there with the model that made its vectors, and open it.

        Raises ConfigError for a store whose galleries are stamped when they are made.
        """
        self.check()
        if self.kind != "postgres":
            raise ConfigError(f'a store of kind "{self.kind}" is stamped when it is made')
        from hotfill.stores.postgres import PostgresGallery  # an extra

        schema, table = self.schema_and_table
        return PostgresGallery.adopt(
            self.dsn or "",
            model,
            schema=schema,
            table=table,
            id_column=id_column,
            vector_column=vector_column,
            metadata_column=metadata_column,
        )

    @property
    def schema_and_table(self) -> tuple[str, str]:
        """The two parts of `table`."""
        schema, dot, table = self.table.partition(".")
        return (schema, table) if dot else ("public", self.table)

    def free_bytes(self, folder: Path) -> int | None:
        """Tell how much room is left where the store lives; None where that is not known."""
        return None if self.kind == "postgres" else shutil.disk_usage(folder).free

    def check(self) -> None:
        """Raise ConfigError when a key is missing, or is one of another kind of store."""
        for kind, names in _ONLY_FOR.items():
            strange = [name for name in names if name in self.model_fields_set]
            if kind != self.kind and strange:
                raise ConfigError(
                    f'[store] {", ".join(strange)}: only for kind = "{kind}", this one is '
                    f'"{self.kind}"'
                )
        needed = "dsn" if self.kind == "postgres" else "path"
        if getattr(self, needed) is None:
            raise ConfigError(f'[store] of kind "{self.kind}" needs {needed!r}')
