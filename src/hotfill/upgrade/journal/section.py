"""[journal] of a configuration file: where the record of the upgrade is kept."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from hotfill.errors import ConfigError
from hotfill.upgrade.journal.sqlite import SqliteJournal

if TYPE_CHECKING:
    from hotfill.upgrade.journal.base import Journal


class JournalSection(BaseModel):
    """Where the journal is.

    kind: `sqlite`, a file in the upgrade's folder, for one machine; or `postgres`, for workers on
        many machines. By default that of the store: PostgreSQL for a store there, else a file.
    dsn: of the server; by default that of the store.
    name: of the schema that holds the journal; each upgrade needs its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["sqlite", "postgres"] | None = None
    dsn: str | None = None
    name: str = "hotfill_upgrade"

    def opened(self, folder: Path, store_dsn: str | None) -> Journal:
        """Open the journal, making it when missing. store_dsn: of a store in PostgreSQL."""
        if self.kind_for(store_dsn) == "postgres":
            from hotfill.upgrade.journal.postgres import PostgresJournal  # needs an extra

            return PostgresJournal(self._server(store_dsn), self.name)
        folder.mkdir(parents=True, exist_ok=True)
        return SqliteJournal(folder / "journal.sqlite")

    def looked_at(self, folder: Path, store_dsn: str | None) -> Journal:
        """Open the journal to read it; where there is none, an empty one. Makes nothing."""
        if self.kind_for(store_dsn) == "postgres":
            from hotfill.upgrade.journal.postgres import PostgresJournal  # needs an extra

            server = self._server(store_dsn)
            if PostgresJournal.is_there(server, self.name):
                return PostgresJournal(server, self.name)
            return SqliteJournal(Path(":memory:"))
        path = folder / "journal.sqlite"
        return SqliteJournal(path if path.exists() else Path(":memory:"))

    def archived(self, folder: Path, store_dsn: str | None) -> str:
        """Put the journal and the folder of an upgrade that has ended aside; tell where they are.

        Called again after a kill it does what is left to do. The caller sees that nobody leads.
        """
        kept = [str(set_aside(folder))] if folder.exists() else []
        if self.kind_for(store_dsn) == "postgres":
            from hotfill.upgrade.journal.postgres import PostgresJournal  # needs an extra

            kept.append(f"schema {PostgresJournal.set_aside(self._server(store_dsn), self.name)}")
        return " and ".join(kept)

    def kind_for(self, store_dsn: str | None) -> str:
        """Tell which journal is meant. store_dsn: of a store in PostgreSQL; None of any other."""
        return self.kind or ("sqlite" if store_dsn is None else "postgres")

    def blockers(self, store_dsn: str | None, *, many_processes: bool) -> list[str]:
        """Say why this journal does not suit a store; empty when it does.

        many_processes: whether several processes, perhaps of several machines, may open the store.
        A journal in a file does not tell them of each other: one could cut over what another is
        filling.
        """
        if not many_processes or self.kind_for(store_dsn) == "postgres":
            return []
        if store_dsn is not None:
            return [
                "many machines may open a store in PostgreSQL, and a journal in a file tells none "
                'of them about the upgrade: write [journal] kind = "postgres" (or leave it out)'
            ]
        if self.kind is None:
            return [
                "many machines may open this store, and a journal in a file tells none of them "
                'about the upgrade: write [journal] kind = "postgres" with the dsn of a server, or '
                'kind = "sqlite" if every process of this upgrade will run on this machine'
            ]
        return []

    def _server(self, store_dsn: str | None) -> str:
        server = self.dsn or store_dsn
        if server is None:
            raise ConfigError("[journal] of kind \"postgres\" needs 'dsn'")
        return server


def set_aside(folder: Path) -> Path:
    """Rename a folder to the first free name next to it, in one step; return the name."""
    for number in itertools.count(1):
        kept = folder.with_name(f"{folder.name}.ended-{number}")
        if not kept.exists():
            return folder.rename(kept)
    raise AssertionError("numbers do not end")
