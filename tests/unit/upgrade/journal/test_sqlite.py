"""The journal's file: what is no journal is refused by name, and left as it was."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from hotfill.errors import JournalCorruptError, JournalError
from hotfill.upgrade.journal.sqlite import SqliteJournal
from hotfill.upgrade.phases import Phase


@pytest.fixture
def path(tmp_path):
    """A journal with some work in it, closed."""
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal(path)
    journal.enter(Phase.BACKFILLING)
    ids = [f"item-{i:05}" for i in range(5000)]
    journal.add_work("embed", [(ids, [0.0] * len(ids))], 10)
    journal.close()
    return path


def refused(path, error, match):
    """Opening fails with this error, and no byte in the folder changes."""
    before = {file.name: hashlib.sha256(file.read_bytes()).digest() for file in _files(path)}
    with pytest.raises(error, match=match) as caught:
        SqliteJournal(path)
    assert str(path) in str(caught.value)
    after = {file.name: hashlib.sha256(file.read_bytes()).digest() for file in _files(path)}
    assert after == before


def _files(path):
    return sorted(path.parent.iterdir())


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9])
def test_a_truncated_journal_is_refused(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, JournalCorruptError, "is not a readable journal")


@pytest.mark.parametrize("where", ["head", "middle", "everywhere"])
def test_random_bytes_are_refused(path, where):
    random = np.random.default_rng(3)
    data = bytearray(path.read_bytes())
    begin, end = {"head": (0, 64), "middle": (4096, 4 * 4096), "everywhere": (0, len(data))}[where]
    data[begin:end] = random.bytes(end - begin)
    path.write_bytes(data)
    refused(path, JournalCorruptError, "items themselves are safe in the store")


def test_a_text_is_refused(path):
    path.write_text("not a journal at all\n" * 100)
    refused(path, JournalCorruptError, "is not a readable journal")


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_database_of_something_else_is_refused(tmp_path, mode):
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA journal_mode = {mode}")
        other.execute("CREATE TABLE users (name TEXT)")
        other.commit()
    refused(path, JournalCorruptError, "it is a database of another kind")


def test_a_journal_of_a_newer_hotfill_is_refused_by_its_format(path):
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 4")
    refused(path, JournalError, "has journal format 4, this hotfill reads 3; use the version")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(JournalError, match="nowhere"):
        SqliteJournal(tmp_path / "nowhere" / "journal.sqlite")


def test_an_empty_file_becomes_a_journal(tmp_path):
    path = tmp_path / "journal.sqlite"
    path.touch()
    journal = SqliteJournal(path)
    assert journal.phase is Phase.PLANNED
    journal.close()


def test_what_is_read_only_can_still_be_looked_at_or_is_refused_clearly(path, monkeypatch):
    journal = SqliteJournal(path)
    with journal._file.reading() as db:
        db.execute("PRAGMA query_only = 1")
    assert journal.phase is Phase.BACKFILLING
    with pytest.raises(JournalError, match="readonly"):
        journal.record("x")
    journal.close()
