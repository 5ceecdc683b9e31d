"""Every journal, for the tests that all of them pass. A new journal is one entry in JOURNALS."""

from __future__ import annotations

import json
from pathlib import Path

from hotfill.upgrade.journal.postgres import PostgresJournal
from hotfill.upgrade.journal.sqlite import SqliteJournal
from tests.postgres import fresh_schema, server


def sqlite_journal(folder: Path) -> SqliteJournal:
    """Open the one journal of a folder, as another process would; make it when missing."""
    return SqliteJournal(folder / "journal.sqlite")


def postgres_journal(folder: Path) -> PostgresJournal:
    """Open the one journal that a folder stands for: a file in it says where the journal is."""
    place = folder / "place.json"
    if not place.exists():
        place.write_text(json.dumps({"dsn": server().dsn, "schema": fresh_schema()}))
    return PostgresJournal(**json.loads(place.read_text()))


JOURNALS = {"sqlite": sqlite_journal, "postgres": postgres_journal}
