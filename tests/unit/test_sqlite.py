"""A file is made once, or left as it is; a transaction is kept whole or not at all."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest

from hotfill.sqlite import OtherFormError, TableLayout, connect, log_ahead, make_ready, transaction

LAYOUT = TableLayout(application=7, form=2, tables="CREATE TABLE a (n); INSERT INTO a VALUES (1)")


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


def test_many_who_open_a_new_file_at_once_make_it_once(tmp_path):
    faults = []

    def open_it():
        try:
            with closing(connect(tmp_path / "new.sqlite")) as db:
                make_ready(db, LAYOUT)
        except sqlite3.Error as error:
            faults.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with closing(connect(tmp_path / "new.sqlite")) as db:
        make_ready(db, LAYOUT)
        assert db.execute("SELECT n FROM a").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("other", "error"),
    [
        (TableLayout(application=7, form=3, tables="CREATE TABLE b (n)"), OtherFormError),
        (TableLayout(application=8, form=2, tables="CREATE TABLE b (n)"), sqlite3.DatabaseError),
    ],
)
def test_a_file_of_another_kind_or_form_is_refused_and_left_as_it_is(tmp_path, other, error):
    path = tmp_path / "file.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in (*other.tables.split(";"), f"PRAGMA application_id = {other.application}"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {other.form}")
    before = path.read_bytes()
    with closing(connect(path)) as db, pytest.raises(error):
        make_ready(db, LAYOUT)
    assert path.read_bytes() == before


def test_somebody_elses_database_without_marks_is_refused(tmp_path):
    path = tmp_path / "file.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (n)")
    before = path.read_bytes()
    with closing(connect(path)) as db, pytest.raises(sqlite3.DatabaseError, match="another kind"):
        make_ready(db, LAYOUT)
    assert path.read_bytes() == before
