"""Which journal a configuration means, and which stores it suits."""

from __future__ import annotations

import pytest

from hotfill.upgrade.journal.section import JournalSection
from hotfill.upgrade.journal.sqlite import SqliteJournal

DSN = "dbname=shop"


@pytest.mark.parametrize(
    ("written", "store_dsn", "meant"),
    [
        (None, None, "sqlite"),
        (None, DSN, "postgres"),
        ("sqlite", DSN, "sqlite"),
        ("postgres", None, "postgres"),
    ],
)
def test_the_journal_is_where_the_store_is_unless_it_is_said(written, store_dsn, meant):
    assert JournalSection(kind=written).kind_for(store_dsn) == meant


def test_a_store_of_one_process_may_have_its_journal_in_a_file():
    assert JournalSection().blockers(None, many_processes=False) == []
    assert JournalSection(kind="sqlite").blockers(None, many_processes=False) == []


def test_a_store_of_many_processes_needs_a_journal_that_all_of_them_see():
    (why,) = JournalSection(kind="sqlite").blockers(DSN, many_processes=True)
    assert '[journal] kind = "postgres"' in why
    assert JournalSection().blockers(DSN, many_processes=True) == []
    assert JournalSection(kind="postgres", dsn=DSN).blockers(None, many_processes=True) == []


def test_a_server_without_postgresql_needs_the_word_that_one_machine_does_all():
    (why,) = JournalSection().blockers(None, many_processes=True)
    assert 'kind = "sqlite" if every process of this upgrade will run on this machine' in why
    assert JournalSection(kind="sqlite").blockers(None, many_processes=True) == []


def test_without_a_word_a_file_is_made_in_the_folder(tmp_path):
    journal = JournalSection().opened(tmp_path / "upgrade", None)
    assert isinstance(journal, SqliteJournal)
    assert (tmp_path / "upgrade" / "journal.sqlite").exists()
    journal.close()


def test_an_ended_journal_in_postgresql_is_put_aside_and_the_next_one_is_empty(tmp_path):
    pytest.importorskip("psycopg")
    postgres = pytest.importorskip("tests.postgres")
    from hotfill.upgrade.journal.postgres import PostgresJournal

    dsn, folder = postgres.server().dsn, tmp_path / "upgrade"
    section = JournalSection(kind="postgres", dsn=dsn, name=f"{postgres.fresh_schema()}_journal")
    for number in (1, 2):
        folder.mkdir()
        journal = section.opened(folder, None)
        journal.record("plan", number=number)
        journal.close()
        kept = f"{section.name}_ended_{number}"
        assert section.archived(folder, None) == f"{folder}.ended-{number} and schema {kept}"
        assert not PostgresJournal.is_there(dsn, section.name)
        journal = PostgresJournal(dsn, kept)
        assert journal.last("plan").body == {"number": number}
        journal.close()


def test_putting_aside_that_was_cut_short_is_done_by_the_next_call(tmp_path):
    pytest.importorskip("psycopg")
    postgres = pytest.importorskip("tests.postgres")
    dsn = postgres.server().dsn
    section = JournalSection(kind="postgres", dsn=dsn, name=f"{postgres.fresh_schema()}_journal")
    section.opened(tmp_path / "upgrade", None).close()
    # The folder is gone already: the schema is all that is left to do.
    assert section.archived(tmp_path / "upgrade", None) == f"schema {section.name}_ended_1"
