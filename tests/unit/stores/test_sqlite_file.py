"""Transactions of the SQLite files of stores."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from hotfill.errors import InputError, StoreError, StoreFullError
from hotfill.stores.qdrant_edge.kept_vectors import KeptVectors
from hotfill.stores.sqlite_file import connect, transaction, translated


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.sqlite"


def fail_after(db, path, statement):
    with transaction(db, path):
        db.execute(statement)
        raise KeyError


def test_what_fails_inside_is_undone_and_the_next_goes_on(path):
    db = connect(path)
    with transaction(db, path):
        db.execute("CREATE TABLE t (n INTEGER UNIQUE)")
    with pytest.raises(KeyError):
        fail_after(db, path, "INSERT INTO t VALUES (1)")
    with pytest.raises(StoreError, match="UNIQUE"), transaction(db, path):
        db.executemany("INSERT INTO t VALUES (?)", [(2,), (2,)])
    with transaction(db, path):
        db.execute("INSERT INTO t VALUES (3)")
    assert db.execute("SELECT n FROM t").fetchall() == [(3,)]
    db.close()


def test_a_commit_that_fails_is_undone_and_the_next_goes_on(path):
    db = connect(path)
    db.execute("PRAGMA foreign_keys = ON")
    with transaction(db, path):
        db.execute("CREATE TABLE a (n INTEGER PRIMARY KEY)")
        db.execute("CREATE TABLE b (a REFERENCES a DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(StoreError, match="FOREIGN KEY"), transaction(db, path):
        db.execute("INSERT INTO b VALUES (7)")  # found out by COMMIT only
    with transaction(db, path):
        db.execute("INSERT INTO a VALUES (1)")
    assert db.execute("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)").fetchall() == [
        (1, 0)
    ]
    db.close()


def test_a_transaction_that_sqlite_ended_itself_needs_no_ending(path):
    db = connect(path)
    with pytest.raises(KeyError):
        fail_after(db, path, "ROLLBACK")  # as after a full disk
    with transaction(db, path):
        db.execute("CREATE TABLE t (n)")
    db.close()


def test_failures_are_told_in_our_words(path):
    for error, kind in (
        (sqlite3.OperationalError("database or disk is full"), StoreFullError),
        (sqlite3.DatabaseError("file is not a database"), StoreError),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), InputError),
    ):
        with pytest.raises(kind), translated(path):
            raise error


def test_kept_vectors_go_on_after_a_full_disk(path):
    kept = KeptVectors(path)
    pages = kept._db.execute("PRAGMA page_count").fetchone()[0]
    kept._db.execute(f"PRAGMA max_page_count = {pages + 4}")
    row = np.ones(64, dtype=np.float32)
    with pytest.raises(StoreFullError):
        kept.put((f"{i}", "space", 1, row) for i in range(1000))
    kept._db.execute("PRAGMA max_page_count = 100000")
    kept.put([("a", "space", 1, row)])
    assert list(kept.get("space", {"a": 1, "0": 1})) == ["a"]
    kept.close()
