"""A transaction is kept whole or not at all, also when only its commit fails."""

from __future__ import annotations

import sqlite3

import pytest

from hotfill.sqlite import log_ahead, transaction


@pytest.fixture
def db(tmp_path):
    made = sqlite3.connect(tmp_path / "file.sqlite", isolation_level=None)
    log_ahead(made)
    made.execute("PRAGMA foreign_keys = ON")
    made.execute("CREATE TABLE owner (name TEXT PRIMARY KEY)")
    made.execute(
        "CREATE TABLE pet (owner TEXT REFERENCES owner (name) DEFERRABLE INITIALLY DEFERRED)"
    )
    yield made
    made.close()


def pets(db):
    return db.execute("SELECT count(*) FROM pet").fetchone()[0]


def test_a_failing_block_leaves_nothing(db):
    def fail():
        with transaction(db):
            db.execute("INSERT INTO pet VALUES (NULL)")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert pets(db) == 0


def test_after_a_commit_that_fails_the_next_transaction_begins_anew(db):
    with pytest.raises(sqlite3.IntegrityError), transaction(db):
        db.execute("INSERT INTO pet VALUES ('nobody')")  # checked by the commit alone
    assert not db.in_transaction
    with transaction(db):
        db.execute("INSERT INTO pet VALUES (NULL)")
    assert pets(db) == 1
