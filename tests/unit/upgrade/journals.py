"""Every journal, for the tests that all of them pass. A new journal is one entry in JOURNALS."""

from __future__ import annotations

from pathlib import Path

from hotfill.upgrade.sqlite_journal import SqliteJournal


def sqlite_journal(folder: Path) -> SqliteJournal:
    """Open the one journal of a folder, as another process would; make it when missing."""
    return SqliteJournal(folder / "journal.sqlite")


JOURNALS = {"sqlite": sqlite_journal}
